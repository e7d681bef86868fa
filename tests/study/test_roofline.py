"""The roofline: operations are those that can be counted, and ratios those that follow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from roofline_error import QWEN25_VL_7B as QWEN
from roofline_error import predicted_alike, predicted_on_macs, roofline_error

from visioncache.study.benchmark.demo import load_model
from visioncache.study.benchmark.roofline import CHIPS, PREDICTED, Asked, Chip, Shape, predict

ALBUM = [
    Asked(
        1600 * (1 + turn // 2),
        1600 if turn % 2 == 0 else 40,
        (1564,) * (1 + turn // 2),
        (1564,) * (turn % 2 == 0),
    )
    for turn in range(8)
]


def test_a_picture_of_1280x960_is_the_work_that_is_said_of_it() -> None:
    assert QWEN.encode(1564).flops == pytest.approx(8.4e12, rel=0.15)
    assert QWEN.prefill(1564).flops == pytest.approx(23.8e12, rel=0.15)


def test_a_stage_takes_as_long_as_its_arithmetic_or_its_traffic() -> None:
    chip = Chip("round", 1e12, 1e9)
    assert QWEN.prefill(1).seconds(chip) == pytest.approx(QWEN.prefill(1).nbytes / 1e9)
    assert QWEN.prefill(4096).seconds(chip) == pytest.approx(QWEN.prefill(4096).flops / 1e12)


def test_what_is_predicted_is_ordered_as_the_arms_are_and_called_predicted() -> None:
    table = predict(QWEN, ALBUM)
    assert set(table["source"]) == {PREDICTED}
    assert set(table["chip"]) == {chip.name for chip in CHIPS}
    for _, rows in table.groupby("chip"):
        ratio = rows.set_index("arm")["ratio"]
        assert ratio["floor"] < ratio["visioncache+prefixes"] < ratio["visioncache"] < ratio["none"] == 1.0


def test_the_demo_models_shape_is_read_off_its_weights() -> None:
    model, _ = load_model()
    shape = Shape.of(model)
    assert (shape.layers, shape.tower_layers, shape.patches_per_token) == (5, 5, 4)
    layer = 192 * 192 * 2 + 2 * 192 * 64 + 3 * 192 * 512
    assert shape.language_weights == 5 * layer


def test_models_that_are_laid_out_otherwise_are_refused_in_a_line() -> None:
    class Other:
        class config:  # noqa: N801
            vision_config = None

    with pytest.raises(ValueError, match="laid out as Qwen's"):
        Shape.of(Other())


def test_on_an_h100_seconds_are_a_lower_bound_and_ratios_are_as_far_off_as_the_docs_say() -> None:
    table = roofline_error()
    assert len(table) == 12
    assert table["tower"].between(0.035, 0.085).all()  # of the rate; 1 would be the bound itself
    assert table["prefill"].between(0.04, 0.355).all()
    error = (table["predicted"] - table["measured"]).abs()
    small = table["size"] == "640x480"
    assert error[~small].max() < 0.105
    assert error[small].max() < 0.275
    assert (table["device_predicted"] - table["device_measured"]).between(0.065, 0.445).all()


def test_chips_that_are_predicted_alike_are_one_row() -> None:
    times, alike = predicted_on_macs().round(1), predicted_alike()
    assert len(alike) < len(times)
    assert sum(int(re.findall(r"\((\d+) chips\)|$", name)[0] or 1) for name in alike.index) == len(times)
    assert times.to_numpy().tolist()[0] == alike.to_numpy().tolist()[0]
    assert times.to_numpy().tolist()[-1] == alike.to_numpy().tolist()[-1]


def test_macs_gain_most_by_prefixes() -> None:
    times = predicted_on_macs()
    assert times.index.tolist() == [chip.name for chip in CHIPS]
    operations = {"none": 644, "visioncache": 510, "visioncache+prefixes": 129}  # 10^12, counted by hand
    for arm in times:
        assert times[arm].to_numpy() == pytest.approx(operations["none"] / operations[arm], rel=0.1)
    least, most = ([f"{time:.1f}" for time in ends] for ends in (times.min(), times.max()))
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert least[0] == most[0]
    assert (
        f"{least[0]} times as fast with features, and {least[1]} to {most[1]} times with prefixes" in readme
    )

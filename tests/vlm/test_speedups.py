"""The report of speedups: on where they should be with this mlx-vlm, else with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo

from visioncache import VisionFeatureCache
from visioncache.study.benchmark.demo import load_model
from visioncache.vlm import FAMILIES, attach
from visioncache.vlm.families.table import KIN
from visioncache.vlm.speedups import report

EXPECTED = Path(__file__).with_name("speedups.json")
"""Which speedups are on, by family, on a GPU or the CPU; `python tests/vlm/test_speedups.py` writes it anew."""
NAMES = sorted({*FAMILIES, *KIN})


def on(family: str) -> list[str]:
    """The speedups that a family's tiny model uses, on a GPU or on the CPU."""
    tiny = zoo.build(family)
    used: set[str] = set()
    with (
        attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached,
        pytest.MonkeyPatch.context() as patch,
    ):
        for gpu in (True, False):
            patch.setattr(report, "on_gpu", lambda gpu=gpu: gpu)
            used.update(attached.speedups.on)
        return [one.name for one in attached.speedups if one.name in used]


@pytest.mark.parametrize("family", NAMES)
def test_no_speedup_that_should_be_on_is_off(family: str) -> None:
    assert on(family) == json.loads(EXPECTED.read_text())[family]


def test_each_speedup_is_on_somewhere() -> None:
    expected = json.loads(EXPECTED.read_text())
    everywhere = {name for names in expected.values() for name in names}
    assert everywhere == {
        "decode",
        "preprocess",
        "placeholders",
        "scatter",
        "positions",
        "device pixels",
        "patches",
        "windows",
    }


def test_what_is_off_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("qwen2_5_vl")
    with attach(tiny.model, None, VisionFeatureCache()) as attached:
        assert attached.speedups.on == ["positions", "patches", "windows"]
        assert all(one.reason for one in attached.speedups)
        assert attached.speedups["decode"].reason == "the processor is not attached: pixels come prepared"
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert attached.speedups["decode"].on
        assert attached.speedups["device pixels"].on
        assert attached.speedups["patches"].on
        monkeypatch.setattr(report, "on_gpu", lambda: True)
        assert "on a GPU" in attached.speedups["patches"].reason
        with pytest.raises(KeyError, match="there are: decode"):
            attached.speedups["teleport"]
        assert len(attached.speedups) == 8
        assert "off: scatter" in repr(attached.speedups)


def test_a_renamed_class_turns_its_speedup_off_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = zoo.build("qwen2_5_vl")
    monkeypatch.delattr("mlx_vlm.models.qwen3_vl.processing_qwen3_vl.Qwen3VLImageProcessor")
    with attach(tiny.model, tiny.processor, VisionFeatureCache()) as attached:
        assert str(attached.speedups["device pixels"]).startswith("device pixels off: its image processor is")


def test_placeholders_that_come_out_otherwise_are_left_alone_and_say_so() -> None:
    model, processor = load_model()
    with attach(model, processor, VisionFeatureCache()) as attached:
        assert str(attached.speedups["placeholders"]).startswith("placeholders on: compared at the first run")
        side = next(one for one in attached.sides if hasattr(one, "exact"))
        side.exact = False
        assert (
            attached.speedups["placeholders"].reason == "its tokenizer makes other tokens of a shortened run"
        )


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps({family: on(family) for family in NAMES}, indent=1) + "\n")

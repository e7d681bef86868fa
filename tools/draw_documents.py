"""Draw pictures of office work: a ten-page report, and the screens of an agent's run.

python tools/draw_documents.py  # writes data/images/report and data/images/screens

Everything on them is made up, from a seed, so every question about them has one answer.
"""

from __future__ import annotations

import calendar
import math
import random
import textwrap
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).resolve().parents[1] / "data" / "images"
FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
PAGE = (850, 1100)
"""Pixels of a page: US letter at 100 a inch."""
SCREEN = (1280, 800)
MARGIN = 80
YEAR = 2025
INK, GREY, LIGHT, BLUE, WHITE = (25, 25, 30), (110, 110, 120), (225, 228, 234), (38, 90, 190), (255, 255, 255)
GREEN = (40, 140, 80)


class Month(NamedTuple):
    """Hold a station's measurements of a month, by day."""

    name: str
    high: list[float]
    """Highest temperature, degrees Celsius."""
    rain: list[float]
    """Millimetres."""

    @property
    def hottest(self) -> int:
        """The day, from 1, of the highest temperature."""
        return self.high.index(max(self.high)) + 1

    @property
    def wettest(self) -> int:
        """The day, from 1, of the most rain."""
        return self.rain.index(max(self.rain)) + 1


def months(dice: random.Random) -> list[Month]:
    """Make up March to October."""
    made = []
    for number in range(3, 11):
        days = calendar.monthrange(YEAR, number)[1]
        mean = 16 + 10 * math.sin((number - 4.2) / 12 * 2 * math.pi)
        high = [round(mean + dice.gauss(0, 3.5), 1) for _ in range(days)]
        rain = [round(dice.expovariate(1 / 6), 1) if dice.random() < 0.35 else 0.0 for _ in range(days)]
        made.append(Month(calendar.month_name[number], high, rain))
    return made


def font(size: int, style: str = "Serif") -> ImageFont.FreeTypeFont:
    """Load one of the fonts that matplotlib brings: the same on every machine."""
    return ImageFont.truetype(str(FONTS / f"DejaVu{style}.ttf"), size)


class Sheet:
    """A page that is written from top to bottom."""

    def __init__(self, number: int) -> None:
        self.image = Image.new("RGB", PAGE, WHITE)
        self.draw = ImageDraw.Draw(self.image)
        self.draw.text((PAGE[0] // 2, PAGE[1] - 50), f"{number}", GREY, font(13), anchor="mm")
        self.y = MARGIN

    def heading(self, text: str, size: int = 26) -> None:
        """Write a heading."""
        self.draw.text((MARGIN, self.y), text, INK, font(size, "Sans-Bold"))
        self.y += size + 22

    def paragraph(self, text: str, size: int = 16) -> None:
        """Write a paragraph, broken into lines."""
        for line in textwrap.wrap(text, 1420 // size):
            self.draw.text((MARGIN, self.y), line, INK, font(size))
            self.y += size + 8
        self.y += 14

    def table(self, rows: list[list[str]], widths: list[int], size: int = 14) -> None:
        """Write rows; the first is the head."""
        for number, row in enumerate(rows):
            x = MARGIN
            style = "Sans-Bold" if number == 0 else "Sans"
            for text, width in zip(row, widths, strict=True):
                self.draw.text((x + width - 10, self.y), text, INK, font(size, style), anchor="ra")
                x += width
            self.y += size + 9
            self.draw.line((MARGIN, self.y - 4, MARGIN + sum(widths), self.y - 4), LIGHT)
        self.y += 16

    def chart(self, month: Month, height: int = 230) -> None:
        """Draw temperatures as a line and rain as bars, day by day."""
        left, right, base = MARGIN + 30, PAGE[0] - MARGIN, self.y + height
        step = (right - left) / len(month.high)
        for mark in (0, 10, 20, 30):
            y = base - mark / 40 * height
            self.draw.line((left, y, right, y), LIGHT)
            self.draw.text((left - 8, y), f"{mark}", GREY, font(11, "Sans"), anchor="rm")
        for day, millimetres in enumerate(month.rain):
            x = left + day * step
            self.draw.rectangle((x + 3, base - millimetres / 40 * height, x + step - 3, base), LIGHT)
        line = [
            (left + (day + 0.5) * step, base - value / 40 * height) for day, value in enumerate(month.high)
        ]
        self.draw.line(line, BLUE, 2)
        self.y = base + 14
        caption = f"Figure: highest temperature (line, degrees) and rain (bars, mm) of each day, {month.name} {YEAR}."
        self.draw.text((left, self.y), caption, GREY, font(12, "Sans"))
        self.y += 34


def report(dice: random.Random) -> list[Image.Image]:
    """Draw ten pages: a cover, eight months, a summary."""
    measured = months(dice)
    cover = Sheet(1)
    cover.y = 260
    cover.heading("Lindenau hill station", 40)
    cover.heading(f"Weather report, March to October {YEAR}", 22)
    cover.y += 40
    cover.paragraph(
        "Every day at seven in the morning somebody walks up the hill, reads four instruments and writes the numbers "
        "into a book. This report is that book, month by month."
    )
    cover.table(
        [
            ["Contents", "page"],
            *([month.name, f"{number}"] for number, month in enumerate(measured, 2)),
            ["Summary", "10"],
        ],
        [300, 80],
    )
    return [
        cover.image,
        *(month_page(number, month) for number, month in enumerate(measured, 2)),
        summary(measured),
    ]


def month_page(number: int, month: Month) -> Image.Image:
    """Draw a month: words, a chart, a table."""
    sheet = Sheet(number)
    sheet.heading(f"{month.name} {YEAR}")
    dry = month.rain.count(0.0)
    sheet.paragraph(
        f"The highest temperature of {month.name} was {max(month.high)} degrees, on day {month.hottest}. The mean of the daily highs "
        f"was {sum(month.high) / len(month.high):.1f} degrees. It rained {sum(month.rain):.1f} mm on {len(month.rain) - dry} days; "
        f"the wettest was day {month.wettest}, with {max(month.rain)} mm. On {dry} days it did not rain at all."
    )
    sheet.chart(month)
    sheet.paragraph("All readings, in degrees and millimetres:")
    half = [f"{day}" for day in range(1, 17)]
    rows = [["day", "high", "rain", "", "day", "high", "rain"]]
    for first in range(16):
        second = first + 16
        after = (
            [f"{second + 1}", f"{month.high[second]}", f"{month.rain[second]}"]
            if second < len(month.high)
            else ["", "", ""]
        )
        rows.append([half[first], f"{month.high[first]}", f"{month.rain[first]}", "", *after])
    sheet.table(rows, [70, 90, 90, 100, 70, 90, 90])
    return sheet.image


def summary(measured: list[Month]) -> Image.Image:
    """Draw the last page."""
    sheet = Sheet(10)
    sheet.heading("Summary")
    hottest = max(measured, key=lambda month: max(month.high))
    wettest = max(measured, key=lambda month: sum(month.rain))
    sheet.paragraph(
        f"The hottest day was in {hottest.name}, with {max(hottest.high)} degrees. The wettest month was {wettest.name}, with "
        f"{sum(wettest.rain):.1f} mm of rain."
    )
    rows = [["month", "highest", "mean high", "rain", "dry days"]]
    for month in measured:
        mean = sum(month.high) / len(month.high)
        rows.append(
            [
                month.name,
                f"{max(month.high)}",
                f"{mean:.1f}",
                f"{sum(month.rain):.1f}",
                f"{month.rain.count(0.0)}",
            ]
        )
    sheet.table(rows, [140, 120, 140, 120, 120], 16)
    sheet.paragraph(
        "The rain gauge was replaced in June; readings before and after agree within 0.2 mm. Nobody slipped on the stairs this year."
    )
    return sheet.image


GUESTS = ("Ada Brandt", "Chen Wei", "Marta Silva", "Jonas Lund", "Priya Nair")
ROOMS = ("12", "14", "21", "22", "30")
NIGHTS = ("2", "1", "4", "3", "2")


class Screen:
    """A window of a program for a guest house, as an agent that works it sees it."""

    def __init__(self, title: str) -> None:
        self.image = Image.new("RGB", SCREEN, (244, 246, 249))
        self.draw = ImageDraw.Draw(self.image)
        self.draw.rectangle((0, 0, SCREEN[0], 56), BLUE)
        self.text((24, 28), f"Guest house  /  {title}", 20, WHITE, bold=True)
        for number, name in enumerate(("Bookings", "Rooms", "Invoices", "Settings")):
            shown = name == title.split(":", maxsplit=1)[0]
            self.draw.rectangle((0, 56 + 52 * number, 200, 108 + 52 * number), LIGHT if shown else WHITE)
            self.text((24, 82 + 52 * number), name, 16, BLUE if shown else INK)

    def text(
        self,
        at: tuple[int, int],
        text: str,
        size: int = 16,
        colour: tuple[int, int, int] = INK,
        *,
        bold: bool = False,
    ) -> None:
        """Write a line, from its middle left."""
        self.draw.text(at, text, colour, font(size, "Sans-Bold" if bold else "Sans"), anchor="lm")

    def button(self, at: tuple[int, int], text: str, colour: tuple[int, int, int] = BLUE) -> None:
        """Draw a button."""
        x, y = at
        self.draw.rounded_rectangle((x, y, x + 150, y + 40), 6, colour)
        self.draw.text((x + 75, y + 20), text, WHITE, font(15, "Sans-Bold"), anchor="mm")

    def field(self, at: tuple[int, int], label: str, value: str, *, active: bool = False) -> None:
        """Draw a labelled field."""
        x, y = at
        self.text((x, y), label, 14, GREY)
        self.draw.rectangle((x, y + 14, x + 420, y + 54), WHITE, BLUE if active else LIGHT, 2)
        self.text((x + 12, y + 34), value + ("|" if active else ""), 16)

    def bookings(self, marked: int | None = None, *, room: str = "", paid: bool = False) -> None:
        """Draw the table of bookings."""
        heads = ("Guest", "Room", "Nights", "State")
        columns = (240, 560, 720, 880)
        for x, head in zip(columns, heads, strict=True):
            self.text((x, 150), head, 14, GREY, bold=True)
        for number, guest in enumerate(GUESTS):
            y = 200 + 56 * number
            self.draw.rectangle((224, y - 26, 1240, y + 26), LIGHT if number == marked else WHITE)
            shown = room if number == 2 and room else ROOMS[number]
            done = number == 2 and paid
            cells = (guest, shown, NIGHTS[number], "paid" if done else "open")
            for x, cell in zip(columns, cells, strict=True):
                self.text((x, y), cell, 16, GREEN if cell == "paid" else INK)


def screens() -> list[Image.Image]:
    """Draw the eight steps of an agent that moves a guest to another room and marks the invoice as paid."""
    steps = [
        Screen("Bookings"),
        Screen("Bookings"),
        *(Screen("Bookings: Marta Silva") for _ in range(3)),
        Screen("Bookings"),
        Screen("Invoices: Marta Silva"),
        Screen("Bookings"),
    ]
    steps[0].bookings()
    steps[1].bookings(2)
    for number, value in ((2, "21"), (3, ""), (4, "33")):
        steps[number].field((240, 150), "Guest", "Marta Silva")
        steps[number].field((240, 240), "Room", value, active=number > 2)
        steps[number].field((240, 330), "Nights", "4")
        steps[number].button((240, 430), "Save")
    steps[5].bookings(2, room="33")
    steps[5].text((240, 540), "Saved: Marta Silva moves to room 33.", 16, GREEN)
    steps[6].text((240, 150), "Room 33, 4 nights at 85.00", 18)
    steps[6].text((240, 200), "Total: 340.00", 18, bold=True)
    steps[6].button((240, 250), "Mark as paid", GREEN)
    steps[7].bookings(2, room="33", paid=True)
    return [step.image for step in steps]


def save(pictures: list[Image.Image], folder: Path) -> None:
    """Write PNGs of few colours: flat pictures stay small, and a reader sees no difference."""
    folder.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures, 1):
        few = picture.quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(folder / f"{number:02}.png", optimize=True)


if __name__ == "__main__":
    save(report(random.Random(YEAR)), IMAGES / "report")  # made-up weather
    save(screens(), IMAGES / "screens")

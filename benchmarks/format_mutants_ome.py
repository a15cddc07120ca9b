"""Kinds of damage to the OME-XML of a good slide; see `format_mutants`."""

import re
from collections.abc import Callable

from benchmarks import format_changes as c
from benchmarks.format_changes import DESCRIPTION, Change, is_ome
from benchmarks.format_edit import TiffEdit
from benchmarks.format_mutants import Kind, hidden, told

OTHER = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image '
    'ID="Image:0" Name="other"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="900" SizeY="700" '
    'SizeC="{channels}" SizeZ="1" SizeT="1" PhysicalSizeX="0.25" PhysicalSizeY="0.25">{each}</Pixels></Image></OME>'
)


def xml(change_text: Callable[[str], str]) -> Change:
    """Change the text; what stays as it was is no mutant."""

    def change(edit: TiffEdit) -> bool | None:
        if not is_ome(edit):
            return False
        before = edit.chain[0].text(DESCRIPTION)
        after = change_text(before)
        if after == before:
            return False
        edit.chain[0].put_text(DESCRIPTION, after)
        return None

    return change


def attribute(name: str, value: str | None) -> Change:
    """Set an attribute where it is, or drop it."""
    new = "" if value is None else f' {name}="{value}"'
    return xml(lambda text: re.sub(rf'\s{name}="[^"]*"', new, text))


def numbered(name: str, step: int) -> Change:
    """Add to a number."""
    return xml(
        lambda text: re.sub(rf'\s{name}="(\d+)"', lambda found: f' {name}="{max(1, int(found[1]) + step)}"', text)
    )


def scaled(factor: float, axes: str = "XY") -> Change:
    """Multiply the size of a px."""

    def change_text(text: str) -> str:
        pattern = rf'PhysicalSize([{axes}])="([^"]*)"'
        return re.sub(pattern, lambda found: f'PhysicalSize{found[1]}="{float(found[2]) * factor:g}"', text)

    return xml(change_text)


def units(unit: str | None) -> Change:
    """Set the unit of both sides, or drop it: then it is µm."""

    def change_text(text: str) -> str:
        text = re.sub(r'\sPhysicalSize[XY]Unit="[^"]*"', "", text)
        sizes = r'(PhysicalSize[XY])="([^"]*)"'
        return text if unit is None else re.sub(sizes, rf'\1="\2" \1Unit="{unit}"', text)

    return xml(change_text)


def other_file(channels: int) -> Change:
    """The document of another file."""
    each = (
        '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData/>' if channels == 3 else '<Channel ID="Channel:0:0"/>'
    )
    return xml(lambda _: OTHER.format(channels=channels, each=each))


def says_resolution(edit: TiffEdit) -> bool:
    """Whether the TIFF states a resolution beside the OME-XML."""
    return c.main_of(edit).number(c.UNIT) > 1


def says_millimetres(edit: TiffEdit) -> bool:
    """Whether sizes are given in mm: other units may fit such numbers."""
    return 'Unit="mm"' in _text(edit)


def says_micrometres(edit: TiffEdit) -> bool:
    """Whether sizes are given in µm."""
    return not says_millimetres(edit)


def says_none(edit: TiffEdit) -> bool:
    return not says_resolution(edit)


def _first_image_twice(text: str) -> str:
    found = re.search(r"<Image .*?</Image>", text, re.DOTALL)
    return text.replace(found[0], found[0] * 2, 1) if found else text


def _without_first_image(text: str) -> str:
    return re.sub(r"<Image .*?</Image>", "", text, count=1, flags=re.DOTALL) if text.count("<Image ") > 1 else text


def _without_last_channel(text: str) -> str:
    channels = re.findall(r"<Channel [^>]*?(?:/>|>.*?</Channel>)", text, re.DOTALL)
    return text.replace(channels[-1], "", 1) if len(channels) > 1 else text


def _swapped(one: str, other: str) -> Callable[[str], str]:
    def change_text(text: str) -> str:
        first, second = re.search(rf'{one}="(\d+)"', text), re.search(rf'{other}="(\d+)"', text)
        if first is None or second is None:
            return text
        text = text.replace(first[0], f'{one}="{second[1]}"', 1)
        return text.replace(second[0], f'{other}="{first[1]}"', 1)

    return change_text


SIZES = (
    *(
        told(f"{name}{step:+d}", "the directories have another size", numbered(name, step))
        for name in ("SizeX", "SizeY")
        for step in (-1, 1, 128)
    ),
    told("SizeX_SizeY_swapped", "the directories have another shape", xml(_swapped("SizeX", "SizeY"))),
    *(
        told(f"{name}{step:+d}", "there are not as many directories", numbered(name, step))
        for name in ("SizeZ", "SizeC", "SizeT")
        for step in (-2, -1, 1, 2)
    ),
    hidden(
        "SizeC_SizeZ_swapped",
        "as many directories either way",
        c.only(lambda e: 'SamplesPerPixel="1"' in _text(e), xml(_swapped("SizeC", "SizeZ"))),
    ),
    told("SizeZ_SizeT_swapped", "harmless, or said: several planes are there", xml(_swapped("SizeZ", "SizeT"))),
    told("channel_dropped", "fewer channels than SizeC", xml(_without_last_channel)),
    told(
        "channels_dropped",
        "fewer channels than SizeC, or none named",
        xml(lambda text: re.sub(r"<Channel [^>]*?(?:/>|>.*?</Channel>)", "", text, flags=re.DOTALL)),
    ),
    *(
        told(f"samples_in_xml_{n}", "the directories have others", attribute("SamplesPerPixel", n))
        for n in ("1", "2", "3", "4")
    ),
    told("type_in_xml", "the directories have others", attribute("Type", "uint16")),
    *(
        told(f"order_{order}", "harmless: one axis alone is longer than one", attribute("DimensionOrder", order))
        for order in ("XYZCT", "XYTZC")
    ),
    told(
        "planes_by_tiffdata",
        "a directory that is not there",
        xml(lambda text: re.sub(r"<TiffData[^>]*>", '<TiffData IFD="7" PlaneCount="1">', text)),
    ),
)

UNITS = (
    *(told(f"unit_{unit}", "no scanner makes that", c.only(says_micrometres, units(unit))) for unit in ("cm", "in")),
    *(
        hidden(f"unit_{unit}_of_mm", "a size that scanners make", c.only(says_millimetres, units(unit)))
        for unit in ("cm", "in")
    ),
    *(
        told(f"unit_{unit}", "no scanner makes that, or no length", units(unit))
        for unit in ("m", "Å", "pm", "pixel", "reference frame", "furlong", "")
    ),
    *(told(f"unit_{unit}", "no scanner makes that, or it is right", units(unit)) for unit in ("nm", "mm", "µm")),
    told("unit_dropped_in_xml", "no scanner makes that, or it is right", units(None)),
    *(
        told(
            f"size_x{factor:g}_contradicted",
            "the resolution of the TIFF says otherwise",
            c.only(says_resolution, scaled(factor)),
        )
        for factor in (10, 0.2, 2)
    ),
    *(
        hidden(
            f"size_x{factor:g}",
            "a size that scanners make, and nothing else says one",
            c.only(says_none, scaled(factor)),
        )
        for factor in (10, 0.2, 2)
    ),
    *(told(f"size_x{factor:g}", "no scanner makes that", scaled(factor)) for factor in (1000, 0.001)),
    *(
        told(f"size_of_{axis}_alone", "no scanner's px are ten times as long as wide", scaled(10, axis))
        for axis in "XY"
    ),
    *(
        told(f"size_{value or 'empty'}", "no number of use", attribute("PhysicalSizeX", value))
        for value in ("", "0", "-0.5", "NaN", "0,5", "0.5 µm", "1e-400")
    ),
    told("size_dropped", "none is none", attribute("PhysicalSizeX", None)),
)

DOCUMENTS = (
    told("xml_of_another_file", "the directories have another size", other_file(3)),
    told("xml_of_another_file_grey", "the directories have another size", other_file(1)),
    told("image_twice", "fewer directories than images", xml(_first_image_twice)),
    told("image_dropped", "a directory that belongs to no image", xml(_without_first_image)),
    told("xml_cut", "no document", xml(lambda text: text[: len(text) // 2])),
    told("xml_cut_at_the_end", "no document", xml(lambda text: text[:-9])),
    told("xml_with_a_tail", "no document", xml(lambda text: text + " <OME")),
    told("xml_empty", "no image", xml(lambda text: re.sub(r"<Image .*</Image>", "", text, flags=re.DOTALL))),
    told(
        "xml_with_entity",
        "entities are refused",
        xml(lambda text: text.replace("<OME", '<!DOCTYPE x [<!ENTITY a "b">]><OME', 1)),
    ),
    told(
        "xml_binary_only",
        "no image",
        xml(
            lambda text: re.sub(
                r"<Image .*</Image>", '<BinaryOnly MetadataFile="a.companion.ome" UUID="u"/>', text, flags=re.DOTALL
            )
        ),
    ),
)


def _text(edit: TiffEdit) -> str:
    return edit.chain[0].text(DESCRIPTION)


OME_KINDS: tuple[Kind, ...] = (*SIZES, *UNITS, *DOCUMENTS)

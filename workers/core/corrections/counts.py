"""How much of each class there is with the corrections and without them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from workers.core.corrections.standing import Standing
from workers.core.frozen import Frozen

UM2_PER_MM2 = 1e6


class Amount(Frozen):
    """How much there is of a class."""

    count: int | None = Field(description="Objects; None where the job counted none.")
    mm2: float
    density_per_mm2: float | None = Field(description="Objects per mm² of all tissue; None without tissue or count.")


class Reviewed(Frozen):
    """Objects of a class by what people said of them. The first four are of the model's, by the model's class."""

    accepted: int = 0
    rejected: int = 0
    relabelled: int = Field(default=0, description="That are of another class now, redrawn ones too.")
    redrawn: int = Field(default=0, description="That are of the same class still.")
    came: int = Field(default=0, description="That the model found as another class.")
    added: int = Field(default=0, description="That the model did not find.")


class ClassWithCorrections(Frozen):
    """One class of the model, no background."""

    index: int
    name: str
    color: tuple[int, int, int]
    without: Amount = Field(description="As in statistics.json.")
    corrected: Amount
    reviewed: Reviewed


class StatisticsWithCorrections(Frozen):
    """What of a job's statistics the corrections change."""

    revision: int = Field(description="Of the corrections; 0: there are none.")
    tissue_mm2: float = Field(description="All tissue, with what was left out as spoiled: what densities are of.")
    classes: tuple[ClassWithCorrections, ...]


def count_corrected(
    statistics: Mapping[str, Any], objects: Iterable[Standing], revision: int
) -> StatisticsWithCorrections:
    """Return the amounts of each class with and without corrections.

    Args:
        statistics: `statistics.json`.
        objects: How the corrected objects stand.
        revision: Of the corrections.
    """
    objects = tuple(objects)
    tissue_mm2 = statistics["tissue_mm2"] + (statistics.get("excluded_mm2") or 0.0)
    classes = (each for each in statistics["classes"] if each["index"])
    found = tuple(_with_corrections(each, objects, tissue_mm2) for each in classes)
    return StatisticsWithCorrections(revision=revision, tissue_mm2=tissue_mm2, classes=found)


def _with_corrections(
    known: Mapping[str, Any], objects: tuple[Standing, ...], tissue_mm2: float
) -> ClassWithCorrections:
    index, count = known["index"], known.get("count")
    was = [each for each in objects if each.model is not None and each.model.class_index == index]
    now = [each for each in objects if each.class_index == index and not each.is_rejected]
    area_um2 = sum(each.area_um2 for each in now) - sum(each.model.area_um2 for each in was if each.model)
    corrected = None if count is None else count + len(now) - len(was)
    without = Amount(count=count, mm2=known["mm2"], density_per_mm2=known.get("density_per_mm2"))
    return ClassWithCorrections(
        index=index,
        name=known["name"],
        color=known["color"],
        without=without,
        corrected=Amount(
            count=corrected,
            mm2=max(0.0, known["mm2"] + area_um2 / UM2_PER_MM2),
            density_per_mm2=None if corrected is None or not tissue_mm2 else corrected / tissue_mm2,
        ),
        reviewed=_reviewed(index, was, now),
    )


def _reviewed(index: int, was: list[Standing], now: list[Standing]) -> Reviewed:
    kept = [each for each in was if not each.is_rejected]
    stayed = [each for each in kept if each.class_index == index]
    return Reviewed(
        accepted=sum(each.state == "accepted" for each in stayed),
        rejected=len(was) - len(kept),
        relabelled=len(kept) - len(stayed),
        redrawn=sum(each.state == "redrawn" for each in stayed),
        came=sum(each.model is not None and each.model.class_index != index for each in now),
        added=sum(each.model is None for each in now),
    )

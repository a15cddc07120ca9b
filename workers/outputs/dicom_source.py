"""What every DICOM product takes of the slide that it refers to, and how classes and the model are told in DICOM.

A product of a slide that came as DICOM belongs to patient, study and specimen of that slide, so it is made from the
slide's header. Identifiers follow from the job: the same job gives the same ones.
"""

from pathlib import Path
from typing import NamedTuple

import highdicom
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage

from workers.core.errors.base import ProductRefused
from workers.core.model.schemas import ModelClass
from workers.core.schemas import Plan

MAY_BE_ABSENT = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Attributes of patient and study that products repeat, and that slides in use do without."""
NEOPLASMS = (codes.cid639, codes.cid6033)
"""Lists of the standard whose concepts are neoplasms; that of neoplasm itself is in none of them."""


class Kind(NamedTuple):
    """A kind of DICOM product.

    Args:
        about: What it is called in a refusal, with the verb.
        instead: The output to take where there can be none.
        needed: Attributes that the slide must have.
    """

    about: str
    instead: str
    needed: tuple[str, ...]

    def refusal(self, reason: str, value: object) -> ProductRefused:
        """Return the refusal of a slide."""
        return ProductRefused(
            f"{self.about} to a DICOM slide, and this slide {reason}.",
            value=value,
            accepted=f"a job on a DICOM slide, or {self.instead}",
        )


def read_source(path: Path, plan: Plan, kind: Kind) -> pydicom.Dataset:
    """Return the header of the slide, with the attributes empty that it does not have and a product needs.

    Raises:
        ProductRefused: It is no tiled DICOM instance with what the product needs, or not the level that the plan
            calls level 0.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise kind.refusal("did not come as DICOM", path.suffix) from error
    if header.get("SOPClassUID") != VLWholeSlideMicroscopyImageStorage or not all(map(header.get, kind.needed)):
        reason = "is no VL Whole Slide Microscopy image with a total pixel matrix"
        raise kind.refusal(reason, header.get("SOPClassUID"))
    size = (header.TotalPixelMatrixColumns, header.TotalPixelMatrixRows)
    if size != (plan.geometry.l0_width, plan.geometry.l0_height):
        reason = "has its first level in another file than the one that was stored"
        raise kind.refusal(reason, f"{size[0]} x {size[1]}")
    for keyword in MAY_BE_ABSENT:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def property_codes(each: ModelClass) -> tuple[Code, Code]:
    """Return what a class is, as (category, type): by its SNOMED CT concept, and tissue where it has none."""
    if each.snomed is None:
        return codes.SCT.Tissue, codes.SCT.Tissue
    value, meaning = each.snomed
    concept = Code(value, "SCT", meaning)
    is_neoplasm = concept == codes.SCT.Neoplasm or any(concept in known for known in NEOPLASMS)
    category = codes.SCT.MorphologicallyAbnormalStructure if is_neoplasm else codes.SCT.AnatomicalStructure
    return category, concept


def algorithm(plan: Plan) -> highdicom.AlgorithmIdentificationSequence:
    """Return how a product names the model that found what it shows."""
    return highdicom.AlgorithmIdentificationSequence(
        name=plan.model[:64], family=codes.DCM.ArtificialIntelligence, version=plan.model_digest[:16]
    )


def stable_uid(plan: Plan, kind: str, what: str) -> UID:
    """Return an identifier that is the same each time the file of this job is made."""
    return pydicom.uid.generate_uid(entropy_srcs=[plan.job_id, kind, what])

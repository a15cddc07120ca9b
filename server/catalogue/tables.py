"""Tables of the index over slides, jobs and batches. Whatever stands in them stands on the disk as well."""

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text

VERSION = 3
"""Of the tables. An index of another version is made anew, so a change of the tables needs this number and no more."""

METADATA = MetaData()

VERSIONS = Table("catalogue_version", METADATA, Column("version", Integer, primary_key=True))

SHELVES = Table(
    "catalogue_shelf",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("changed_ns", BigInteger, nullable=False),
)
"""Folders of entries, and the time of the change up to which their names are known."""

ENTRIES = Table(
    "catalogue_entry",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("shelf", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("slide_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked", Text, nullable=False),
    Column("is_settled", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("catalogue_entry_sha256", "kind", "tenant", "sha256", "created_at", "id"),
    Index("catalogue_entry_slide", "kind", "tenant", "slide_id", "created_at", "id"),
    Index("catalogue_entry_pages", "kind", "tenant", "created_at", "id"),
    Index("catalogue_entry_sizes", "tenant", "kind", "size_bytes"),
    Index("catalogue_entry_shelf", "host", "shelf", "id"),
    Index("catalogue_entry_unsettled", "host", "kind", "is_settled", "tenant"),
)
"""One row for each slide, job and batch.

`host` names the data folder that it is of, and only gateways of that folder change it: each has read its own disk.
`revision` counts the changes of a row: who writes one says which it saw.
"""

PENDING = Table(
    "catalogue_pending",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("uploads", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
)
"""What a tenant has under way in a data folder: resumable uploads, and all bytes that are held for what will come."""

LABELS = Table(
    "catalogue_label",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index("catalogue_label_found", "key", "value", "kind", "id"),
)
"""Labels of slides and jobs."""

WARNINGS = Table(
    "catalogue_warning",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Index("catalogue_warning_found", "code", "kind", "id"),
)
"""Codes of the warnings of slides and of finished jobs."""

"""What this gateway counts, for `/metrics`: who does something adds to it where it happens. One process, one set.

No label is a client's text: routes are templates, codes are those of the catalogue, and the other words stand here.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call] # they would double the series

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

REQUESTS = Counter(
    "ldiffusion_http_requests",
    "Requests by template of the route, method and class of the status; `none`: the client went away unanswered.",
    ("route", "method", "status"),
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "ldiffusion_http_request_seconds",
    "Seconds from the head of a request to that of its answer; the body of an upload comes in between.",
    ("route", "method"),
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2.5, 10, 60, 600),
    registry=REGISTRY,
)
RECEIVED_BYTES = Counter(
    "ldiffusion_http_received_bytes", "Bytes of the bodies of requests.", ("route",), registry=REGISTRY
)
SENT_BYTES = Counter("ldiffusion_http_sent_bytes", "Bytes of the bodies of answers.", ("route",), registry=REGISTRY)
REFUSALS = Counter("ldiffusion_refusals", "Errors that were answered, by code.", ("code",), registry=REGISTRY)
UPLOADED_BYTES = Counter(
    "ldiffusion_upload_bytes",
    "Bytes of slides that came to the disk: by `tus`, in one `request`, by `import`.",
    ("way",),
    registry=REGISTRY,
)
PICTURES = Counter(
    "ldiffusion_slide_pictures",
    "Tiles and thumbnails of slides: `held` by the client, `at_hand`, `ready` without decoding, `decoded`.",
    ("how",),
    registry=REGISTRY,
)
CACHE = Counter(
    "ldiffusion_viewing_cache",
    "What viewers need between two tiles, looked for in the gateway's memory.",
    ("kind", "outcome"),
    registry=REGISTRY,
)

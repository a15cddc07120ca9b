"""One side of `benchmarks.peers`, in its tool's environment: keeps its labels, prints what it took as JSON.

`python benchmarks/peers_side.py TOOL ASKED.json` with this tree on the path. The network is the same torch module for
all tools; time and memory are counted from after the imports and the loading of its weights.
"""

# ruff: noqa: PLC0415 (each side has what its environment has)

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


def network(asked: dict[str, Any]) -> Any:
    """Load the weights."""
    from models.predictor import Predictor

    return Predictor.load(Path(asked["weights"]), "cpu", threads=1)


def probabilities(predictor: Any, images: NDArray[np.uint8], precision: str) -> NDArray[np.float32]:
    """Return (N, classes, H, W); every patch has the noise of the plane's corner, as no tool tells where it lies."""
    logits = predictor.logits(images, [(0, 0)] * len(images), 0, precision)
    shares: NDArray[np.float32] = logits[:, : len(predictor.classes)].softmax(dim=1).numpy()
    return shares


def ours(asked: dict[str, Any]) -> Any:
    """`ldiffusion segment` with all that it makes."""
    from workers.pipeline import stitch
    from workers.segment import main

    def run() -> Labels:
        options = ["--threads", "1", "--engine", asked["engine"], "--mpp", str(asked["mpp"])]
        main([asked["slide"], "-o", asked["out"], "--model", asked["weights"], *options], standalone_mode=False)
        return np.asarray(stitch.open_labels(Path(asked["out"])).labels[:, :])

    return run


def tiatoolbox(asked: dict[str, Any]) -> Any:
    """`SemanticSegmentor` of TIAToolbox with the same tissue mask."""
    import torch
    import zarr
    from tiatoolbox.models.engine.io_config import IOSegmentorConfig
    from tiatoolbox.models.engine.semantic_segmentor import SemanticSegmentor
    from tiatoolbox.models.models_abc import ModelABC

    torch.set_num_threads(1)
    predictor, rim = network(asked), (asked["input_px"] - asked["output_px"]) // 2

    class Net(ModelABC):  # type: ignore[misc]
        def forward(self, images: Any) -> Any:
            return images

        @staticmethod
        def infer_batch(model: Any, batch_data: Any, *, device: str) -> NDArray[np.float32]:  # noqa: ARG004 (theirs)
            images = np.ascontiguousarray(np.asarray(batch_data).astype(np.uint8))
            shares = probabilities(predictor, images, asked["precision"])
            return np.ascontiguousarray(shares[:, :, rim : -rim or None, rim : -rim or None].transpose(0, 2, 3, 1))

    at = [{"units": "mpp", "resolution": asked["model_mpp"]}]
    config = IOSegmentorConfig(
        input_resolutions=at,
        output_resolutions=at,
        patch_input_shape=(asked["input_px"],) * 2,
        patch_output_shape=(asked["output_px"],) * 2,
        stride_shape=(asked["stride_px"],) * 2,
        save_resolution=at[0],
    )
    engine = SemanticSegmentor(model=Net(), batch_size=1, num_workers=0, verbose=False)

    def run() -> Labels:
        made = engine.run(
            images=[Path(asked["slide"])],
            masks=[Path(asked["mask"])],
            patch_mode=False,
            ioconfig=config,
            save_dir=Path(asked["out"]),
            output_type="zarr",
            device="cpu",
            overwrite=True,
            auto_get_mask=False,
        )
        group: Any = zarr.open(str(next(iter(made.values()))), mode="r")
        shares = np.asarray(group["predictions"])  # (height, width, classes), as nothing is made of them afterwards
        labels: Labels = shares.argmax(axis=-1).astype(np.uint8)
        return labels

    return run


def monai(asked: dict[str, Any]) -> Any:
    """MONAI's `sliding_window_inference` on the slide as one array."""
    import torch
    from monai.inferers import sliding_window_inference
    from tiatoolbox.wsicore.wsireader import WSIReader

    torch.set_num_threads(1)
    predictor = network(asked)

    def look(patches: Any) -> Any:
        images = np.ascontiguousarray(patches.numpy().transpose(0, 2, 3, 1).astype(np.uint8))
        return torch.from_numpy(probabilities(predictor, images, asked["precision"]))

    def run() -> Labels:
        reader = WSIReader.open(asked["slide"])
        size = reader.slide_dimensions(asked["model_mpp"], "mpp")
        image = reader.read_rect((0, 0), tuple(size), resolution=asked["model_mpp"], units="mpp")
        whole = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
        shares = sliding_window_inference(whole, (asked["input_px"],) * 2, 1, look)
        return np.asarray(shares[0].argmax(dim=0)).astype(np.uint8)

    return run


def main() -> None:
    tool, asked = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    run = {"ours": ours, "tiatoolbox": tiatoolbox, "monai": monai}[tool](asked)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), _cpu_seconds()
    labels = run()
    took = {"wall_s": time.perf_counter() - wall, "cpu_s": _cpu_seconds() - cpu}
    peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    np.save(asked["labels"], labels)
    print(json.dumps({**took, "peak_mb": peak * 1024 / 1e6, "loaded_mb": before * 1024 / 1e6}))


def _cpu_seconds() -> float:
    own, ended = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


if __name__ == "__main__":
    main()

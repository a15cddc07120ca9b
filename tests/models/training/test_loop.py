"""The training loop: against a literal one, cut off and resumed, in parts, stopped early, by several processes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from loop_worker import TinyNet, no_figures, scripted, tiny_batch, tiny_loop, tiny_loss, tiny_task
from safetensors.torch import load_file
from torch import Tensor, nn

from models.training.crops.batch import Batch, step_generator
from models.training.loop import LoopConfig, Losses
from models.training.state import Place, read_place, read_tensors

CONFIG = LoopConfig(steps=6, batch=8, lr=1e-2, warmup_steps=2)


def tensors(run_dir: Path) -> dict[str, Tensor]:
    return read_tensors(run_dir, read_place(run_dir))


def rows(run_dir: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype, name
        assert torch.equal(value, right[name]), name


def mean_square(model: TinyNet, batch: Batch, config: LoopConfig) -> Losses:
    """A mean over the batch, without random numbers."""
    return {"loss": model(batch.images).square().mean()}


def test_the_loop_does_what_a_literal_one_does(tmp_path: Path) -> None:
    task = tiny_task(CONFIG)
    tiny_loop(tmp_path).train(task)

    model = TinyNet(norm=True)
    model.frozen.eval()
    optimiser = torch.optim.Adam(model.learned.parameters())
    averaged = [p.detach().clone() for p in model.learned.parameters()]
    for step in range(CONFIG.steps):
        loss = tiny_loss(model, tiny_batch(8, step), CONFIG)["loss"]
        optimiser.param_groups[0]["lr"] = CONFIG.learning_rate(step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.learned.parameters(), 1.0)
        optimiser.step()
        decay = 0.0 if step == 0 else min(0.9, 1 - (1 + step) ** (-2 / 3))
        for mean, present in zip(averaged, model.learned.parameters(), strict=True):
            mean.mul_(decay).add_((1 - decay) * present.detach())
    for mean, (name, got) in zip(averaged, task.trained.items(), strict=True):
        torch.testing.assert_close(got.detach(), mean, msg=name)
    assert_same(dict(task.model.named_buffers()), dict(model.named_buffers()))
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert rows(tmp_path)[-1]["loss"] == pytest.approx(loss.item(), abs=1e-5)


def test_frozen_parts_keep_every_bit(tmp_path: Path) -> None:
    task = tiny_task(CONFIG)
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    tiny_loop(tmp_path).train(task)
    after = task.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {name for name in after if name.startswith("learned")}
    assert after["learned.1.num_batches_tracked"].item() == CONFIG.steps
    assert tensors(tmp_path)["model/learned.1.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 9])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, cut: int) -> None:
    config = replace(CONFIG, steps=10, accumulate=2, patience=3, watch="val")
    figures = [5.0, 3.0, 4.0, 3.5, 6.0]
    tiny_loop(tmp_path / "straight").train(tiny_task(config, validate=scripted(figures)))

    def failing(step: int) -> Batch:
        if step == cut:
            raise InterruptedError
        return tiny_batch(8, step)

    with pytest.raises(InterruptedError):
        tiny_loop(tmp_path / "cut").train(tiny_task(config, validate=scripted(figures), batches=failing))
    torch.manual_seed(99)
    seen = read_place(tmp_path / "cut").step // 2
    tiny_loop(tmp_path / "cut").train(tiny_task(config, validate=scripted(figures[seen:])))
    assert_same(tensors(tmp_path / "straight"), tensors(tmp_path / "cut"))
    assert rows(tmp_path / "straight") == rows(tmp_path / "cut")
    ends = [replace(read_place(tmp_path / run), seconds=0.0) for run in ("straight", "cut")]
    assert ends[0] == ends[1]
    assert [path.name for path in (tmp_path / "cut").glob("*.safetensors")] == [ends[0].state]


def test_a_state_of_the_first_format_is_read(tmp_path: Path) -> None:
    tiny_loop(tmp_path / "straight").train(tiny_task(CONFIG))
    half = tiny_task(CONFIG, batches=lambda step: tiny_batch(8, step) if step < 4 else None)
    with pytest.raises(AttributeError):
        tiny_loop(tmp_path / "old").train(half)
    place = json.loads((tmp_path / "old" / "state.json").read_text())
    first = {key: place[key] for key in ("stage", "step", "state", "ema_steps")}
    (tmp_path / "old" / "state.json").write_text(json.dumps(first))
    assert set(load_file(tmp_path / "old" / first["state"])) >= {"ema/learned.0.bias", "adam/step/learned.0.bias"}
    tiny_loop(tmp_path / "old").train(tiny_task(CONFIG))
    assert_same(tensors(tmp_path / "straight"), tensors(tmp_path / "old"))


def test_parts_add_up_to_the_whole_batch(tmp_path: Path) -> None:
    ends = []
    for accumulate in (1, 4):
        task = tiny_task(replace(CONFIG, accumulate=accumulate), norm=False, loss=mean_square)
        tiny_loop(tmp_path / str(accumulate)).train(task)
        ends.append(torch.cat([p.detach().flatten() for p in task.trained.values()]))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-6)
    assert rows(tmp_path / "1")[-1]["loss"] == pytest.approx(rows(tmp_path / "4")[-1]["loss"], abs=2e-5)


def test_parts_of_a_batch_have_their_own_random_numbers() -> None:
    parts = tiny_batch(8, 0).split(4)
    assert torch.equal(torch.cat([part.images for part in parts]), tiny_batch(8, 0).images)
    draws = [torch.rand(3, generator=part.generator).tolist() for part in parts]
    assert len({tuple(draw) for draw in draws}) == 4
    again = [torch.rand(3, generator=part.generator).tolist() for part in tiny_batch(8, 0).split(4)]
    assert draws == again
    whole = tiny_batch(8, 0)
    assert whole.split(1) == [whole]
    with pytest.raises(ValueError, match="8 cannot be cut into 3"):
        whole.split(3)
    assert step_generator(0, "a", 1).initial_seed() != step_generator(0, "b", 1).initial_seed()


@pytest.mark.parametrize(
    ("best", "figures", "winner", "steps"),
    [
        ("lowest", [3.0, 2.0, float("nan"), 2.5, 1.0], 1, 8),
        ("highest", [0.1, 0.4, 0.3, 0.5, 0.2, 0.5, 0.9], 3, 12),
        ("highest", [0.1, 0.2, 0.3], 2, 6),
    ],
)
def test_early_stop_ends_on_the_best_averaged_weights(
    tmp_path: Path, best: Literal["lowest", "highest"], figures: list[float], winner: int, steps: int
) -> None:
    config = replace(CONFIG, steps=2 * len(figures), patience=2, watch="val", best=best)
    seen: list[dict[str, Tensor]] = []
    left = iter(figures)

    def validate() -> dict[str, float]:
        assert not any(module.training for module in task.model.modules())
        seen.append({name: value.clone() for name, value in task.model.state_dict().items()})
        return {"val": next(left)}

    task = tiny_task(config, validate=validate)
    tiny_loop(tmp_path).train(task)
    place = read_place(tmp_path)
    assert (place.step, place.best_step, place.best) == (steps, 2 * (winner + 1), figures[winner])
    assert place.done == {"tiny": steps}
    assert_same(seen[winner], task.model.state_dict())
    assert place.stopped == (steps < config.steps)
    if place.stopped:
        assert rows(tmp_path)[-1]["best_val"] == figures[winner]
    before = tensors(tmp_path)
    tiny_loop(tmp_path).train(tiny_task(config, batches=lambda step: pytest.fail("the stage is over")))
    assert_same(before, tensors(tmp_path))


def test_the_watched_figure_must_exist(tmp_path: Path) -> None:
    config = replace(CONFIG, patience=1, watch="val_dice")
    with pytest.raises(ValueError, match="tiny: no figure 'val_dice' to watch; the validation gives val"):
        tiny_loop(tmp_path).train(tiny_task(config, validate=scripted([1.0])))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    def broken(model: TinyNet, batch: Batch, config: LoopConfig) -> Losses:
        return {"loss": model(batch.images).mean() * float("nan")}

    with pytest.raises(FloatingPointError, match="tiny: the loss is nan after 1 steps"):
        tiny_loop(tmp_path).train(tiny_task(CONFIG, loss=broken))


def test_a_second_stage_builds_on_the_averaged_weights(tmp_path: Path) -> None:
    loop, first = tiny_loop(tmp_path), tiny_task(CONFIG)
    loop.train(first)
    ended = {name: value.clone() for name, value in first.model.state_dict().items()}
    begun: list[dict[str, Tensor]] = []

    def watching(model: TinyNet, batch: Batch, config: LoopConfig) -> Losses:
        begun.append({name: value.clone() for name, value in model.named_parameters()})
        return tiny_loss(model, batch, config)

    loop.train(replace(first, name="second", loss=watching))
    assert all(torch.equal(value, ended[name]) for name, value in begun[0].items())
    assert read_place(tmp_path).done == {"tiny": 6, "second": 6}
    assert Place().has_done("tiny", 0)


def test_learning_rate_warms_up_and_falls() -> None:
    config = LoopConfig(steps=100, lr=1.0, warmup_steps=10)
    rates = [config.learning_rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(0.98, abs=0.02)
    assert rates[-1] < 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, "steps is -1; accepted: at least 0"),
        ({"batch": 0}, "batch is 0; accepted: at least 1"),
        ({"lr": 0.0}, "lr is 0.0; accepted: above 0"),
        ({"batch": 8, "accumulate": 3}, "batch is 8; accepted: a multiple of accumulate = 3"),
        ({"best": "most"}, "best is 'most'; accepted: 'lowest' or 'highest'"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoopConfig(**settings)  # type: ignore[arg-type]


def test_no_figures_are_no_row(tmp_path: Path) -> None:
    tiny_loop(tmp_path, log_every=100).train(tiny_task(CONFIG, validate=no_figures))
    assert not (tmp_path / "log.jsonl").exists()

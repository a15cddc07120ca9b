"""The paper's networks that are written here: what each must have, whatever its weights."""

import pytest
import torch
from torch import nn

from models.training.rgb_networks import build_network
from models.training.rgb_paper import SwinUNet, _Expand

WRITTEN = ("denseaspp", "fastfcn", "swin-unet")


@pytest.mark.parametrize("name", WRITTEN)
def test_every_weight_of_a_network_written_here_learns(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 2).train()
    logits = network(torch.randn(2, 3, 64, 32))
    assert logits.shape == (2, 2, 64, 32)
    (logits * torch.randn_like(logits)).sum().backward()
    still = [key for key, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert still == []


@pytest.mark.parametrize("name", WRITTEN)
def test_an_image_of_a_batch_is_answered_as_if_alone(name: str) -> None:
    """In evaluation no norm looks over space or batch: nothing of one image reaches another."""
    network = build_network(name, 2).eval()
    images = torch.randn(2, 3, 96, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        both, alone = network(images), network(images[1:])
    assert torch.allclose(both[1:], alone, atol=1e-5)
    kinds = {type(module).__name__ for module in network.modules() if "Norm" in type(module).__name__}
    assert kinds == ({"LayerNorm"} if name == "swin-unet" else {"BatchNorm2d"})


def test_windows_are_shifted_in_every_second_block() -> None:
    """Without a shift no token of one window of 7 would see the next, however many blocks there are."""
    blocks = SwinUNet(2).eval().down[0]
    assert isinstance(blocks, nn.Sequential)
    x = torch.zeros(1, 14, 14, SwinUNet.width)
    changed = x.clone()
    changed[0, 0, 6] = torch.randn(SwinUNet.width, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        first, both = ((after(changed) - after(x)).abs().sum(dim=-1)[0] for after in (blocks[0], blocks))
    assert float(first[:, 7:].max()) == 0
    assert float(both[:7, 7:].max()) > 0


def test_patch_expanding_puts_tokens_beside_each_other() -> None:
    """Each token becomes a square at its own place: what is elsewhere does not change."""
    expand = _Expand(8, 4, 2)
    x = torch.randn(1, 3, 5, 8, generator=torch.Generator().manual_seed(3))
    other = x.clone()
    other[0, 1, 4] += 1
    with torch.no_grad():
        changed = (expand(x) - expand(other)).abs().sum(dim=-1)[0] > 1e-6
    expected = torch.zeros(6, 10, dtype=torch.bool)
    expected[2:4, 8:10] = True
    assert torch.equal(changed, expected)

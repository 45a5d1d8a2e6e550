"""ResNet-18's features as queries, checked against the network that torchvision ships."""

from pathlib import Path

import numpy as np
import pytest
import torch
from installed import needs
from PIL import Image
from torch import Tensor, nn

from qsep.queries.encoders.resnet import MEAN, Config, build
from qsep.queries.interface import ImageQuery

pytestmark = needs("torchvision", "pictures need it")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """torchvision's, with random weights and statistics."""
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        resnet = resnet18()
        for module in resnet.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return resnet.eval()


@pytest.fixture(scope="module")
def weights(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


def noise_picture(seed: int, height: int = 224, width: int = 224) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)


def pixels_of(picture: np.ndarray) -> Tensor:
    """As the network gets them: channels first, from 0 to 1, normalised as CLIP's pictures are."""
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    scaled = torch.from_numpy(picture).float() / 255
    return ((scaled - torch.tensor(MEAN)) / deviation).permute(2, 0, 1)[None]


@torch.no_grad()
def test_every_other_feature_is_that_of_the_network_with_strides(
    network: nn.Module, weights: Path
) -> None:
    """Dilated, the last stage computes at each place what the original computes at every other one."""
    pixels = pixels_of(noise_picture(0))
    plain = nn.Sequential(*list(network.children())[:-2])(pixels)
    dilated = build(Config(str(weights))).network(pixels)
    assert (plain.shape, dilated.shape) == ((1, 512, 7, 7), (1, 512, 14, 14))
    # float32, over 4608 products a sum
    assert torch.allclose(dilated[:, :, ::2, ::2], plain, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_query_is_the_mean_over_frames_of_each_channels_largest_feature(weights: Path) -> None:
    encoder = build(Config(str(weights)))
    frames = [noise_picture(seed) for seed in range(3)]
    pooled = encoder.encode([ImageQuery(*frames), ImageQuery(frames[1])]).pooled
    largest = [encoder.network(pixels_of(frame))[0].flatten(1).max(dim=1)[0] for frame in frames]
    assert pooled.shape == (2, 512)
    assert torch.allclose(pooled[0], sum(largest) / 3, atol=1e-5)
    assert torch.allclose(pooled[1], largest[1], atol=1e-5)


def test_a_file_and_an_array_of_equal_pixels_have_equal_embeddings(
    weights: Path, tmp_path: Path
) -> None:
    picture = noise_picture(5, 230, 300)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    embedding = build(Config(str(weights))).encode(
        [ImageQuery(tmp_path / "picture.png"), ImageQuery(picture)]
    )
    assert torch.equal(embedding.pooled[0], embedding.pooled[1])


def test_other_weights_have_another_fingerprint(weights: Path, tmp_path: Path) -> None:
    other = torch.load(weights, weights_only=True)
    other["fc.bias"][0] += 1
    torch.save(other, tmp_path / "other.pth")
    prints = {
        build(Config(name)).fingerprint for name in (str(weights), str(tmp_path / "other.pth"))
    }
    assert len(prints | {build(Config()).fingerprint}) == 3


def test_a_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pth: no such file; give ResNet-18's weights"):
        build(Config(str(tmp_path / "nowhere.pth")))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"small\.pth: not of a ResNet-18"):
        build(Config(str(tmp_path / "small.pth"))).encode([ImageQuery(noise_picture(1))])


def test_the_error_for_unavailable_weights_asks_for_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(
        ValueError,
        match=r"cannot be fetched \(no network\); fetch resnet18-f37072fd\.pth elsewhere",
    ):
        build(Config()).encode([ImageQuery(noise_picture(1))])

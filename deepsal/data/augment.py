"""Random augmentation of a training image together with its fixations."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import v2

MAX_CROP_ATTEMPTS = 20
COLOUR_ADJUSTMENTS = (
    v2.functional.adjust_brightness,
    v2.functional.adjust_contrast,
    v2.functional.adjust_saturation,
)


class ImageView(NamedTuple):
    """An image, changed or not, with its fixations.

    Args:
        image: uint8 (3, h, w).
        points: float64 (N, 2), (x, y) in pixels of `size`.
        size: (height, width).
        scale: pixels of `size` per pixel of the stored image, down and across.
        flipped: from left to right.
    """

    image: UInt8[Tensor, "3 h w"]
    points: Float[Tensor, "N 2"]
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    flipped: bool = False


@dataclass(frozen=True)
class RandomAugmentation:
    """Crop, flip and colour, each drawn anew for every image.

    A crop has the image's proportions. A crop that holds too few fixations is drawn again, at most
    20 times, and then the image stays whole. The fixations outside a crop are removed.

    Args:
        flip: probability of a left-right flip.
        crop: the smallest side of a crop, as a fraction of the image's; 1 for no crops.
        keep: the smallest fraction of the fixations that a crop must hold, at least one fixation.
        colour: largest relative change of brightness, contrast and saturation.

    Raises:
        ValueError: an option outside its range.
    """

    flip: float = 0.5
    crop: float = 1.0
    keep: float = 0.5
    colour: float = 0.0

    def __post_init__(self) -> None:
        for name, smallest in {"flip": 0.0, "crop": 0.1, "keep": 0.0, "colour": 0.0}.items():
            if not smallest <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"data.{name}={value} must lie between {smallest:g} and 1")

    def __call__(self, view: ImageView, generator: torch.Generator | None = None) -> ImageView:
        """Return the augmented view.

        Args:
            view: the view to change.
            generator: source of the random numbers; None for torch's own.
        """
        if self.crop < 1:
            view = self._random_crop(view, generator)
        if self.draw_flip(generator):
            view = _flip_view(view)
        if self.colour:
            view = view._replace(image=self._change_colour(view.image, generator))
        return view

    def draw_flip(self, generator: torch.Generator | None = None) -> bool:
        """Draw the decision to flip, which is the first draw of a view that is not cropped."""
        return self.flip > 0 and bool(torch.rand(1, generator=generator) < self.flip)

    def _change_colour(
        self, image: UInt8[Tensor, "3 h w"], generator: torch.Generator | None
    ) -> UInt8[Tensor, "3 h w"]:
        """Change brightness, contrast and saturation, in random order."""
        factors = 1 + self.colour * (2 * torch.rand(3, generator=generator) - 1)
        for i in torch.randperm(3, generator=generator).tolist():
            image = COLOUR_ADJUSTMENTS[i](image, float(factors[i]))
        return image

    def _random_crop(self, view: ImageView, generator: torch.Generator | None) -> ImageView:
        height, width = view.image.shape[1:]
        scale = (height / view.size[0], width / view.size[1])
        points = (view.points + 0.5) * torch.tensor(scale[::-1], dtype=torch.float64) - 0.5
        for _ in range(MAX_CROP_ATTEMPTS):
            side, down, across = torch.rand(3, generator=generator).tolist()
            part = self.crop + (1 - self.crop) * side
            h, w = max(1, round(part * height)), max(1, round(part * width))
            top, left = round(down * (height - h)), round(across * (width - w))
            moved = points - torch.tensor([left, top], dtype=torch.float64)
            inside = ((moved >= -0.5) & (moved < torch.tensor([w - 0.5, h - 0.5]))).all(1)
            if inside.sum() >= max(1, self.keep * len(points)):
                image = view.image[:, top : top + h, left : left + w]
                total = scale[0] * view.scale[0], scale[1] * view.scale[1]
                return ImageView(image, moved[inside], (h, w), total)
        return view


def cut_window(
    view: ImageView,
    size: tuple[int, int],
    keep: float | None = None,
    generator: torch.Generator | None = None,
) -> ImageView:
    """Cut an image along its longer side to a window that holds enough of its fixations.

    A window is drawn among all that hold `keep` of the fixations, or the most that a window can
    hold if that is less. The fixations outside are removed.

    Args:
        view: an image, scaled so that one side is that of the window, to a pixel.
        size: (h, w) of the window.
        keep: smallest fraction of the fixations, at least one; None for the window nearest the
            middle that holds one.
        generator: source of the random numbers; None for torch's own.
    """
    height, width = view.image.shape[1:]
    scale = (height / view.size[0], width / view.size[1])
    points = (view.points + 0.5) * torch.tensor(scale[::-1], dtype=torch.float64) - 0.5
    corner = [(height - size[0]) // 2, (width - size[1]) // 2]
    axis = int(width - size[1] > height - size[0])
    starts = torch.arange((height, width)[axis] - size[axis] + 1)
    along = points[:, 1 - axis, None] - starts
    held = ((along >= -0.5) & (along < size[axis] - 0.5)).sum(0)
    enough = held >= min(max(1.0, (keep or 0) * len(points)), int(held.max()))
    allowed = starts[enough]
    if keep is None:
        choice = (allowed - corner[axis]).abs().argmin()
    else:
        choice = torch.randint(len(allowed), (), generator=generator)
    corner[axis] = int(allowed[choice])
    top, left = corner
    moved = points - torch.tensor([left, top], dtype=torch.float64)
    inside = ((moved >= -0.5) & (moved < torch.tensor([size[1] - 0.5, size[0] - 0.5]))).all(1)
    image = view.image[:, top : top + size[0], left : left + size[1]]
    total = scale[0] * view.scale[0], scale[1] * view.scale[1]
    return ImageView(image, moved[inside], size, total)


def _flip_view(view: ImageView) -> ImageView:
    points = view.points.clone()
    points[:, 0] = view.size[1] - 1 - points[:, 0]
    return view._replace(image=view.image.flip(-1), points=points, flipped=True)

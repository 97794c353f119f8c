"""Teachers from timm and from Hugging Face transformers: image classifiers with their own preprocessing in front."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers import hub
from edgekd.teachers.interface import Opened
from edgekd.teachers.preparation import Preparation, of_processor, of_timm
from edgekd.teachers.tensors import asking

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def open_transformers(
    folder: Path, *, name: str, data_kind: str, sample_shape: tuple[int, ...], device: "torch.device"
) -> Opened:
    """The image classifier in a folder that `save_pretrained` wrote; code that a repository brings is never run.

    Raises:
        BadInputError: no image classifier, weights or preprocessing that are not whole, or data of another kind.
        EnvironmentFault: transformers is not installed.
    """
    _check_kind(data_kind, "transformers")
    hub.check_installed("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own age, none of ours
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForImageClassification
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            model, info = AutoModelForImageClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as err:
            raise BadInputError(
                f"teacher {name}: transformers cannot load it as an image classifier: {_first(err)}"
            ) from err
    missing = sorted(info["missing_keys"])
    if missing:
        raise BadInputError(
            f"teacher {name}: has no weights for '{missing[0]}', so that would be random; expected a classifier that "
            "was trained, not a base model. Fine-tune it first"
        )
    config, processor = model.config, folder / "preprocessor_config.json"
    if not processor.is_file():
        raise BadInputError(
            f"teacher {name}: has no preprocessor_config.json, and nothing says what it takes; copy it beside "
            "config.json"
        )
    steps = of_processor(hub.read_json(processor), channels=int(getattr(config, "num_channels", 3)))
    labels = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    named = labels != tuple(f"LABEL_{i}" for i in range(config.num_labels))  # what transformers writes for no names
    return _opened(
        model,
        lambda batch: model(pixel_values=batch).logits,
        steps,
        name=name,
        classes=labels if named else None,
        sample_shape=sample_shape,
        device=device,
    )


def open_timm(
    folder: Path, *, name: str, data_kind: str, sample_shape: tuple[int, ...], device: "torch.device"
) -> Opened:
    """The image classifier in a folder as timm's repositories on the hub have it: config.json, model.safetensors.

    Raises:
        BadInputError: an architecture that timm does not know, weights that do not fit it, or data of another kind.
        EnvironmentFault: timm is not installed, or cannot be imported beside this torch.
    """
    _check_kind(data_kind, "timm")
    hub.check_installed("timm")
    timm = _import_timm()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = hub.read_json(folder / "config.json")
    declared = config.get("pretrained_cfg", config)
    architecture = str(config.get("architecture", ""))
    arguments = {"num_classes": config.get("num_classes", 1000)} | dict(config.get("model_args") or {})
    try:
        model = timm.create_model(architecture, pretrained=False, **arguments)
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as err:
        raise BadInputError(f"teacher {name}: timm cannot build '{architecture}': {_first(err)}") from err
    tensors: dict[str, Tensor] = {}
    try:
        for path in hub.weights(folder):
            tensors |= load_file(path)
        model.load_state_dict(tensors, strict=True)
    except (RuntimeError, OSError, SafetensorError) as err:
        raise BadInputError(
            f"teacher {name}: its weights do not fit timm's '{architecture}': {_first(err, 2)}"
        ) from err
    labels = config.get("label_names") or declared.get("label_names")
    return _opened(
        model,
        model,
        of_timm(declared),
        name=name,
        classes=None if labels is None else tuple(map(str, labels)),
        sample_shape=sample_shape,
        device=device,
    )


def _import_timm() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm
    except (ImportError, RuntimeError) as err:  # RuntimeError: a torchvision that was built for another torch
        import torch

        raise EnvironmentFault(
            f"timm is installed and cannot be imported: {_first(err)}; expected a torchvision that was built for torch "
            f"{torch.__version__}. Install both from one index: pip install torch torchvision"
        ) from err
    return timm


def _opened(
    model: "torch.nn.Module",
    forward: "Callable[[Tensor], Any]",
    steps: Preparation,
    *,
    name: str,
    classes: tuple[str, ...] | None,
    sample_shape: tuple[int, ...],
    device: "torch.device",
) -> Opened:
    import torch

    try:
        steps.check(channels=sample_shape[-1])
    except BadInputError as err:
        raise BadInputError(f"teacher {name}: {err}") from err
    model.to(device).eval()

    def on_device(batch: "Tensor") -> "Tensor":
        try:
            with torch.no_grad():
                answer = forward(steps(batch))
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as err:
            raise BadInputError(f"does not run on images of shape {tuple(batch.shape)}: {_first(err)}") from err
        if not isinstance(answer, torch.Tensor):
            raise BadInputError(f"returns a {type(answer).__name__}; expected one tensor (batch, outputs)")
        return answer

    return Opened(
        name=name,
        ask=asking(on_device, data_kind="image", device=device),
        on_device=on_device,
        classes=classes,
        parameters=sum(value.numel() for value in model.parameters()),
        preprocessing=steps.words(channels=sample_shape[-1]),
    )


def _check_kind(data_kind: str, package: str) -> None:
    if data_kind != "image":
        raise BadInputError(
            f"a teacher of kind '{package}' takes images, the data is of kind {data_kind}; export the teacher to "
            "ONNX, or write its scores into a table (kind = 'scores')"
        )


def _first(err: BaseException, lines: int = 1) -> str:
    text = [line.strip() for line in str(err).splitlines() if line.strip()]
    return " ".join(text[:lines])[:300] or type(err).__name__

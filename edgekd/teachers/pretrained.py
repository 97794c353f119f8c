"""Teachers from timm and from Hugging Face transformers: classifiers with their own preprocessing in front."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.errors import BadInputError, EnvironmentFault
from edgekd.teachers import hub
from edgekd.teachers.interface import Opened
from edgekd.teachers.preparation import of_timm
from edgekd.teachers.tensors import asking
from edgekd.teachers.transformers_inputs import TAKES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NO_FACTS: Mapping[str, Any] = {}


def open_transformers(
    folder: Path,
    *,
    name: str,
    data_kind: str,
    sample_shape: tuple[int, ...],
    device: "torch.device",
    facts: Mapping[str, Any] = NO_FACTS,
) -> Opened:
    """The classifier of images, sound or texts in a folder that `save_pretrained` wrote; no code of it is ever run.

    facts: `Dataset.front`, of sound and texts.

    Raises:
        BadInputError: no such classifier, weights or preprocessing that are not whole, or data that it cannot take.
        EnvironmentFault: transformers is not installed.
    """
    hub.check_kind("transformers", data_kind)
    hub.check_installed("transformers")
    auto, inputs_of = TAKES[data_kind]
    model = _load(folder, auto, name=name, data_kind=data_kind)
    config = model.config
    try:
        taken = inputs_of(folder, config, sample_shape=sample_shape, facts=facts)
    except BadInputError as err:
        raise BadInputError(f"teacher {name}: {err}") from err
    labels = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    named = labels != tuple(f"LABEL_{i}" for i in range(config.num_labels))  # what transformers writes for no names
    return _opened(
        model,
        lambda batch: model(**taken.arguments(batch)).logits,
        name=name,
        classes=labels if named else None,
        data_kind=data_kind,
        device=device,
        preprocessing=taken.words,
    )


def _load(folder: Path, auto: str, *, name: str, data_kind: str) -> Any:
    """The model in the folder, by the class `auto` of transformers, with trained weights for all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own age, none of ours
        import torch
        import transformers
        from safetensors import SafetensorError
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            model, info = getattr(transformers, auto).from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as err:
            raise BadInputError(
                f"teacher {name}: transformers cannot load it as an {data_kind} classifier: {_first(err)}"
            ) from err
    missing = sorted(info["missing_keys"])
    if missing:
        raise BadInputError(
            f"teacher {name}: has no weights for '{missing[0]}', so that would be random; expected a classifier that "
            "was trained, not a base model. Fine-tune it first"
        )
    return model


def open_timm(
    folder: Path, *, name: str, data_kind: str, sample_shape: tuple[int, ...], device: "torch.device"
) -> Opened:
    """The image classifier in a folder as timm's repositories on the hub have it: config.json, model.safetensors.

    Raises:
        BadInputError: an architecture that timm does not know, weights that do not fit it, or data of another kind.
        EnvironmentFault: timm is not installed, or cannot be imported beside this torch.
    """
    hub.check_kind("timm", data_kind)
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
    steps = of_timm(declared)
    try:
        steps.check(channels=sample_shape[-1])
    except BadInputError as err:
        raise BadInputError(f"teacher {name}: {err}") from err
    return _opened(
        model,
        lambda batch: model(steps(batch)),
        name=name,
        classes=None if labels is None else tuple(map(str, labels)),
        data_kind="image",
        device=device,
        preprocessing=steps.words(channels=sample_shape[-1]),
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
    *,
    name: str,
    classes: tuple[str, ...] | None,
    data_kind: str,
    device: "torch.device",
    preprocessing: str,
) -> Opened:
    import torch

    model.to(device).eval()

    def on_device(batch: "Tensor") -> "Tensor":
        try:
            with torch.no_grad():
                answer = forward(batch)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as err:
            raise BadInputError(
                f"does not run on {data_kind} samples of shape {tuple(batch.shape)}: {_first(err)}"
            ) from err
        if not isinstance(answer, torch.Tensor):
            raise BadInputError(f"returns a {type(answer).__name__}; expected one tensor (batch, outputs)")
        return answer

    return Opened(
        name=name,
        ask=asking(on_device, data_kind=data_kind, device=device),
        on_device=on_device,
        classes=classes,
        parameters=sum(value.numel() for value in model.parameters()),
        preprocessing=preprocessing,
    )


def _first(err: BaseException, lines: int = 1) -> str:
    text = [line.strip() for line in str(err).splitlines() if line.strip()]
    return " ".join(text[:lines])[:300] or type(err).__name__

# mypy: disable-error-code="import-not-found, import-untyped"
"""pythae's trainer and models, with encoder and decoder classes as its documentation asks for."""

from __future__ import annotations

import math
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor
from torch.nn.functional import softplus
from torch.utils.data import Subset

from experiments.speed.cases import LEARNING_RATE, VARIANCE, Case
from experiments.speed.contenders._contender import Batches, Contender, LeftOut
from experiments.speed.contenders.networks import mlp
from experiments.speed.inputs import Inputs

__all__ = ["Trainer"]


class Encoder(BaseEncoder):
    """Mean and log variance; pythae's data are ours divided by the likelihood's scale."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        super().__init__()
        self.network, self.scale = mlp(case, inputs, "encoder"), _scale(case)

    def forward(self, x: Tensor) -> Any:
        mean, raw_scale = self.network(x * self.scale).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=2 * softplus(raw_scale).log())


class Decoder(BaseDecoder):
    """Probabilities of pixels, or means in units of the likelihood's scale."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        super().__init__()
        self.network, self.pixels = mlp(case, inputs, "decoder"), case.pixels
        self.scale = _scale(case)

    def forward(self, z: Tensor) -> Any:
        output = self.network(z)
        return ModelOutput(reconstruction=output.sigmoid() if self.pixels else output / self.scale)


class Trainer(Contender):
    """``BaseTrainer.train_step``, its pass through a loader of the batches asked for."""

    note = (
        "`BaseTrainer`'s own pass through its loader, with the callbacks that it always has. Its "
        "loss is the mean over the batch with the KL in closed form. Its “mse” is a normal density "
        "with variance 1 less its constant: the data are given to it divided by σ = 0.5, and the "
        "check adds ½ log 2πσ² a value. Its IWAE reports Σ w log w / Σ w, whose gradient is that "
        "of the bound and whose value is not: it is checked against just that."
    )

    def __init__(self, case: Case, inputs: Inputs, device: str) -> None:
        if case.flows:
            raise LeftOut("the flows are Pyro's")
        if device != "cpu":
            raise LeftOut("timed on the processor only")
        self._case = case
        self.reports = "bound" if case.particles == 1 else "weighted"
        data = torch.from_numpy(inputs.data) / _scale(case)
        self._dataset = BaseDataset(data, torch.zeros(len(data)))
        self._batch = DatasetOutput(data=data[: case.batch])
        self._model = _model(case, inputs)
        self._folder = TemporaryDirectory()
        self._trainer = _trainer(self._model, self._dataset, case, self._folder.name)
        self._epoch = 0

    def first_call(self) -> None:
        self.loss_samples(2)

    @torch.no_grad()
    def loss_samples(self, count: int) -> list[float]:
        case = self._case
        values = 0 if case.pixels else case.data_dim * case.batch
        constant = 0.5 * math.log(2 * math.pi * VARIANCE) * values
        losses = [float(self._model(self._batch).loss) for _ in range(count)]
        return [case.batch * loss + constant for loss in losses]

    def steps(self, batches: Batches) -> None:
        trainer, self._epoch = self._trainer, self._epoch + 1
        chosen = Subset(self._dataset, batches.ravel().tolist())
        trainer.train_loader = trainer.get_train_dataloader(chosen)
        trainer.train_step(self._epoch)
        trainer.callback_handler.on_epoch_end(training_config=trainer.training_config)


def _model(case: Case, inputs: Inputs) -> Any:
    settings: dict[str, Any] = {
        "input_dim": (case.data_dim,),
        "latent_dim": case.latent,
        "reconstruction_loss": "bce" if case.pixels else "mse",
    }
    networks = {"encoder": Encoder(case, inputs), "decoder": Decoder(case, inputs)}
    if case.particles == 1:
        return VAE(VAEConfig(**settings), **networks)
    return IWAE(IWAEConfig(**settings, number_samples=case.particles), **networks)


def _trainer(model: Any, dataset: Any, case: Case, folder: str) -> Any:
    config = BaseTrainerConfig(
        output_dir=folder,
        per_device_train_batch_size=case.batch,
        learning_rate=LEARNING_RATE,
        no_cuda=True,
    )
    trainer = BaseTrainer(model, dataset, training_config=config)
    trainer.prepare_training()
    return trainer


def _scale(case: Case) -> float:
    return 1.0 if case.pixels else math.sqrt(VARIANCE)

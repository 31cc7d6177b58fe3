"""A recurrent state-space model: remembers with a GRU, doubts with a Gaussian, dreams without eyes.

The state is (h, z). h remembers: h' = GRU(h, [z, action]). z is what is seen now: drawn from
q(z | h, picture) while looking, from the prior p(z | h) while dreaming. Picture and reward are
decoded from (h, z).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import autodiff as ad
import numpy as np
from autodiff import Tensor
from numpy.typing import NDArray
from world import ACTIONS, PIXELS

MEMORY, LATENT, HIDDEN, SEEN = 96, 16, 128, 48
#: What a picture's pixel, a reward and a latent's divergence weigh in the loss.
PICTURE_WEIGHT, REWARD_WEIGHT, KL_WEIGHT = 100.0, 1.0, 10.0
#: Share of the divergence that trains the prior; the rest keeps the posterior simple.
PRIOR_SHARE = 0.8
#: Smallest standard deviation of a latent.
LEAST_SPREAD = 0.05
#: The decoder's first guess of a pixel, as a logit: pictures are mostly dark.
DARK = -2.0

Array = NDArray[Any]


class Layers:
    """Affine layers with tanh between them."""

    def __init__(self, sizes: list[int], rng: np.random.Generator, dtype: Any) -> None:
        self.parameters: list[Tensor] = []
        for rows, columns in pairwise(sizes):
            scale = np.sqrt(1.0 / rows)
            self.parameters.append(Tensor(rng.normal(0, scale, (rows, columns)).astype(dtype)))
            self.parameters.append(Tensor(np.zeros(columns, dtype)))

    def __call__(self, x: Tensor) -> Tensor:
        for place in range(0, len(self.parameters), 2):
            if place:
                x = ad.tanh(x)
            x = ad.affine(x, self.parameters[place], self.parameters[place + 1])
        return x


@dataclass
class Gaussian:
    """Independent normal distributions, a row each."""

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Gaussian:
        """From LATENT means and LATENT raw spreads beside one another."""
        spread = ad.softplus(ad.columns(raw, LATENT, 2 * LATENT)) + LEAST_SPREAD
        return cls(ad.columns(raw, 0, LATENT), spread)

    def draw(self, noise: Array) -> Tensor:
        return self.mean + self.spread * Tensor(noise)

    def held(self) -> Gaussian:
        return Gaussian(ad.held(self.mean), ad.held(self.spread))


def divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p) of each latent of each row, in nats."""
    ratio, distance = q.spread * ad.inverse(p.spread), (q.mean - p.mean) * ad.inverse(p.spread)
    return (ratio * ratio + distance * distance) * 0.5 - ad.log(ratio) + (-0.5)


@dataclass
class Losses:
    """What one batch costs.

    Attributes:
        total: the weighted sum that is minimised.
        picture: cross entropy of a pixel, less what no model can avoid.
        reward: squared error of a reward.
        kl: divergence of the posterior from the prior, in nats a latent.
    """

    total: Tensor
    picture: float
    reward: float
    kl: float


class WorldModel:
    """The model and its parameters, reproducible from the generator it is made with."""

    def __init__(self, rng: np.random.Generator, dtype: Any = np.float32) -> None:
        self.dtype = dtype
        state = MEMORY + LATENT
        self.encoder = Layers([PIXELS, HIDDEN, SEEN], rng, dtype)
        self.posterior = Layers([MEMORY + SEEN, HIDDEN, 2 * LATENT], rng, dtype)
        self.prior = Layers([MEMORY, HIDDEN, 2 * LATENT], rng, dtype)
        self.gates = Layers([state + ACTIONS, 2 * MEMORY], rng, dtype)
        self.candidate = Layers([state + ACTIONS, MEMORY], rng, dtype)
        self.decoder = Layers([state, HIDDEN, PIXELS], rng, dtype)
        self.decoder.parameters[-1].data[:] = DARK
        self.reward = Layers([state, HIDDEN // 2, 1], rng, dtype)

    @property
    def parameters(self) -> list[Tensor]:
        heads = (self.posterior, self.prior, self.decoder, self.reward)
        parts = (self.encoder, self.gates, self.candidate, *heads)
        return [parameter for part in parts for parameter in part.parameters]

    def remember(self, memory: Tensor, latent: Tensor, actions: Array) -> Tensor:
        """The memory after an action: one step of a GRU."""
        happened = Tensor(np.eye(ACTIONS, dtype=self.dtype)[actions])
        gates = ad.sigmoid(self.gates(ad.join([memory, latent, happened], 1)))
        forget, update = ad.columns(gates, 0, MEMORY), ad.columns(gates, MEMORY, 2 * MEMORY)
        new = ad.tanh(self.candidate(ad.join([memory * forget, latent, happened], 1)))
        return memory + update * (new - memory)

    def start(self, count: int) -> Tensor:
        return Tensor(np.zeros((count, MEMORY), self.dtype))

    @staticmethod
    def surprise(logits: Tensor, pictures: Array) -> Tensor:
        """Cross entropy of a pixel, less what is left when the picture is exactly right."""
        sure = np.clip(pictures, 1e-6, 1 - 1e-6)
        left = -(sure * np.log(sure) + (1 - sure) * np.log(1 - sure))
        return ad.mean(ad.softplus(logits) - logits * Tensor(pictures) - Tensor(left))

    def losses(self, pictures: Array, actions: Array, rewards: Array, noise: Array) -> Losses:
        """Costs of looking at whole games.

        Args:
            pictures: (step + 1, game, pixel).
            actions: (step, game).
            rewards: (step, game); the reward of an action is told by the state after it.
            noise: (step + 1, game, LATENT) standard normal numbers.
        """
        steps, count = len(pictures), pictures.shape[1]
        seen = self.encoder(Tensor(pictures.reshape(-1, PIXELS)))
        memory, states, priors, posteriors = self.start(count), [], [], []
        for step in range(steps):
            now = ad.rows(seen, step * count, (step + 1) * count)
            priors.append(self.prior(memory))
            posteriors.append(self.posterior(ad.join([memory, now], 1)))
            latent = Gaussian.of(posteriors[-1]).draw(noise[step])
            states.append(ad.join([memory, latent], 1))
            if step < steps - 1:
                memory = self.remember(memory, latent, actions[step])
        every = ad.join(states, 0)
        picture = self.surprise(self.decoder(every), pictures.reshape(-1, PIXELS))
        after = ad.rows(every, count, steps * count)
        missed = self.reward(after) - Tensor(rewards.reshape(-1, 1))
        reward = ad.mean(missed * missed)
        q, p = Gaussian.of(ad.join(posteriors, 0)), Gaussian.of(ad.join(priors, 0))
        teach, tame = ad.mean(divergence(q.held(), p)), ad.mean(divergence(q, p.held()))
        kl = teach * PRIOR_SHARE + tame * (1 - PRIOR_SHARE)
        total = picture * PICTURE_WEIGHT + reward * REWARD_WEIGHT + kl * KL_WEIGHT
        return Losses(total, float(picture.data), float(reward.data), float(kl.data))

    def imagine(self, pictures: Array, actions: Array) -> tuple[Array, Array]:
        """What the model expects after it has seen the first pictures and then only knows the actions.

        Args:
            pictures: (seen, game, pixel), at least one.
            actions: (step, game); the first `seen - 1` lie between the pictures.

        Returns:
            Pictures (dreamed, game, pixel) and rewards (dreamed, game) after each further action,
            from the mean of each latent: no chance is involved.
        """
        memory, latent = self.start(pictures.shape[1]), None
        dreamed, rewards = [], []
        for step in range(len(actions) + 1):
            if step < len(pictures):
                raw = self.posterior(ad.join([memory, self.encoder(Tensor(pictures[step]))], 1))
            else:
                raw = self.prior(memory)
            latent = Gaussian.of(raw).mean
            if step >= len(pictures):
                state = ad.join([memory, latent], 1)
                dreamed.append(ad.sigmoid(self.decoder(state)).data)
                rewards.append(self.reward(state).data[:, 0])
            if step < len(actions):
                memory = self.remember(memory, latent, actions[step])
        return np.stack(dreamed), np.stack(rewards)

"""Reverse-mode differentiation of arrays: just the operations that the world model needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Tensor:
    """An array that remembers how it was made.

    Attributes:
        data: the values.
        grad: derivative of the loss by the values, once `backward` of the loss was called.
    """

    def __init__(
        self, data: Array, made_by: Callable[[Array], None] | None = None, needs: Sequence[Tensor] = ()
    ) -> None:
        self.data = data
        self.grad: Array | None = None
        self._made_by = made_by
        self._needs = needs

    def __add__(self, other: Tensor | float) -> Tensor:
        if not isinstance(other, Tensor):
            return Tensor(self.data + other, self.receive, [self])

        def back(g: Array) -> None:
            self.receive(g)
            other.receive(g)

        return Tensor(self.data + other.data, back, [self, other])

    def __sub__(self, other: Tensor) -> Tensor:
        return self + other * -1.0

    def __mul__(self, other: Tensor | float) -> Tensor:
        if not isinstance(other, Tensor):
            return Tensor(self.data * other, lambda g: self.receive(g * other), [self])

        def back(g: Array) -> None:
            self.receive(g * other.data)
            other.receive(g * self.data)

        return Tensor(self.data * other.data, back, [self, other])

    def receive(self, gradient: Array) -> None:
        """Adds to the derivative; a broadcast operand gets the sum over what it was spread to."""
        if gradient.shape != self.data.shape:
            spread = gradient.ndim - self.data.ndim
            gradient = gradient.sum(tuple(range(spread)))
        self.grad = gradient if self.grad is None else self.grad + gradient

    def backward(self) -> None:
        """Fills `grad` of everything this scalar was made from."""
        order: list[Tensor] = []
        seen: set[int] = set()
        stack: list[tuple[Tensor, bool]] = [(self, False)]
        while stack:
            tensor, done = stack.pop()
            if done:
                order.append(tensor)
            elif id(tensor) not in seen:
                seen.add(id(tensor))
                stack.append((tensor, True))
                stack.extend((needed, False) for needed in tensor._needs)
        self.grad = np.ones_like(self.data)
        for tensor in reversed(order):
            if tensor._made_by is not None and tensor.grad is not None:
                tensor._made_by(tensor.grad)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias for a batch of rows."""

    def back(g: Array) -> None:
        x.receive(g @ weight.data.T)
        weight.receive(x.data.T @ g)
        bias.receive(g)

    return Tensor(x.data @ weight.data + bias.data, back, [x, weight, bias])


def tanh(x: Tensor) -> Tensor:
    value = np.tanh(x.data)
    return Tensor(value, lambda g: x.receive(g * (1 - value * value)), [x])


def sigmoid(x: Tensor) -> Tensor:
    value = 0.5 + 0.5 * np.tanh(0.5 * x.data)
    return Tensor(value, lambda g: x.receive(g * value * (1 - value)), [x])


def softplus(x: Tensor) -> Tensor:
    value = np.logaddexp(0, x.data).astype(x.data.dtype)
    return Tensor(value, lambda g: x.receive(g * (0.5 + 0.5 * np.tanh(0.5 * x.data))), [x])


def log(x: Tensor) -> Tensor:
    return Tensor(np.log(x.data), lambda g: x.receive(g / x.data), [x])


def inverse(x: Tensor) -> Tensor:
    value = 1 / x.data
    return Tensor(value, lambda g: x.receive(-g * value * value), [x])


def join(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Parts beside one another along an axis."""
    ends = np.cumsum([part.data.shape[axis] for part in parts])[:-1]

    def back(g: Array) -> None:
        for part, gradient in zip(parts, np.split(g, ends, axis), strict=True):
            part.receive(gradient)

    return Tensor(np.concatenate([part.data for part in parts], axis), back, list(parts))


def columns(x: Tensor, start: int, stop: int) -> Tensor:
    """Columns start to stop of a batch of rows."""

    def back(g: Array) -> None:
        whole = np.zeros_like(x.data)
        whole[:, start:stop] = g
        x.receive(whole)

    return Tensor(x.data[:, start:stop], back, [x])


def rows(x: Tensor, start: int, stop: int) -> Tensor:
    """Rows start to stop."""

    def back(g: Array) -> None:
        whole = np.zeros_like(x.data)
        whole[start:stop] = g
        x.receive(whole)

    return Tensor(x.data[start:stop], back, [x])


def mean(x: Tensor) -> Tensor:
    size = x.data.size
    return Tensor(x.data.mean(), lambda g: x.receive(np.full_like(x.data, g / size)), [x])


def held(x: Tensor) -> Tensor:
    """The same values as a constant."""
    return Tensor(x.data)


class Adam:
    """Adam with a limit on the length of the whole gradient."""

    def __init__(self, parameters: Sequence[Tensor], rate: float, clip: float = 10.0) -> None:
        self.parameters, self.rate, self.clip = list(parameters), rate, clip
        self.first = [np.zeros_like(p.data) for p in self.parameters]
        self.second = [np.zeros_like(p.data) for p in self.parameters]
        self.count = 0

    def step(self) -> None:
        """Moves every parameter that has a gradient, and forgets the gradients."""
        self.count += 1
        length = float(np.sqrt(sum(float((p.grad**2).sum()) for p in self.parameters if p.grad is not None)))
        shrink = min(1.0, self.clip / (length + 1e-8))
        correction = np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count)
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            if parameter.grad is None:
                continue
            gradient = parameter.grad * shrink
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient * gradient - second)
            parameter.data -= self.rate * correction * first / (np.sqrt(second) + 1e-8)
            parameter.grad = None

"""A model that carries out the command of any recipe; push it to your own account with cog."""

from __future__ import annotations

import agent  # type: ignore[import-not-found]
from carry_out import carry_out  # type: ignore[import-not-found]
from cog import BasePredictor, Input, Path, Secret  # type: ignore[import-not-found]


class Predictor(BasePredictor):  # type: ignore[misc]
    def predict(
        self,
        worldflux_job: str = Input(description="what to run, as JSON"),
        worldflux_source: Path = Input(description="the recipe's files, as a tar"),  # noqa: B008
        worldflux_environment: Secret = Input(description="variables of the command, as JSON"),  # noqa: B008
        worldflux_requirements: str = Input(description="locked packages", default=""),
    ) -> Path:
        """Run the command; its record, log, metrics and files come back as one tar."""
        environment = worldflux_environment.get_secret_value()
        return Path(carry_out(agent, worldflux_job, worldflux_source, environment, worldflux_requirements))

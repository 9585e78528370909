"""Which SubTransformer each update trains."""

import random

from hat.space import Architecture, SearchSpace


class UniformSampler:
    """One SubTransformer an update, every knob uniform over its choices.

    The draw depends on the seed and the number of the update only: every process and every batch of an update get the
    same one, and a resumed run goes on with the same sequence.

    Source: HAT (arXiv:2005.14187), section 2.2.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.seed = seed

    def __call__(self, update: int) -> Architecture:
        """The SubTransformer of this update."""
        return self.space.sample(random.Random(f"{self.seed} update {update}"))

    def validation_architectures(self, num_random: int) -> dict[str, Architecture]:
        """The smallest, the largest and some random SubTransformers, always the same ones."""
        drawn = {
            f"random_{index}": self.space.sample(random.Random(f"{self.seed} validation {index}"))
            for index in range(num_random)
        }
        return {"smallest": self.space.smallest(), "largest": self.space.largest(), **drawn}

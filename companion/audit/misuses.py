"""What `companion.audit.audit_model` looks for, what it asks, and what it says when it finds it."""

from typing import NamedTuple

from companion.audit.report import Check


class Misuse(NamedTuple):
    """A way to use dropout wrongly, with what the report calls it and what it asks."""

    name: str
    meaning: str
    advice: str  # {} stands for what a finding says
    code: str


class Misuses(list[Misuse]):
    """Misuses in the order in which they are reported."""

    def add(self, name: str, meaning: str, advice: str) -> Misuse:
        self.append(Misuse(name, meaning, advice, f"DR{301 + len(self)}"))
        return self[-1]


class Finding(NamedTuple):
    """A misuse in one place: the path of the submodule, and what is said of it."""

    misuse: Misuse
    path: str
    said: str

    def check(self) -> Check:
        name, meaning, advice, code = self.misuse
        return Check(
            name, meaning, "fail", self.path, "", advice.format(self.said), code
        )


class Findings(list[Finding]):
    """Findings in the order in which they were made; one may come twice."""

    def add(self, misuse: Misuse, path: str, said: str = "") -> None:
        self.append(Finding(misuse, path, said))

    def of(self, misuse: Misuse) -> list[Finding]:
        """Return the findings of one misuse, each once."""
        return [found for found in dict.fromkeys(self) if found.misuse == misuse]


MISUSES = Misuses()

ACTIVE = MISUSES.add(
    "dropout active in eval()",
    "Does every dropout rest after model.eval()?",
    "{} drops in eval() as well, so predictions are random and the same input gets different "
    "answers. Pass training=self.training; make layers in __init__, not in forward. If this "
    "is Monte Carlo dropout (Gal and Ghahramani, 2016), which looks the same, keep it.",
)
OUTPUT = MISUSES.add(
    "dropout on the output",
    "Does something with weights come after every dropout?",
    "Nothing with weights comes after it, so training sees outputs set to zero or scaled up "
    "at random, and no later layer can make up for it. Move it before the last layer. If "
    "this model is a part of a larger one, audit the whole.",
)
BATCHNORM = MISUSES.add(
    "dropout right before BatchNorm",
    "Is no dropout followed at once by batch normalisation?",
    "BatchNorm {} keeps the variance of what was dropped out, which is not the one it meets "
    "in eval() (variance shift: Li et al., 2019). Put the dropout after the last BatchNorm, "
    "or right before a layer with weights.",
)
TWICE = MISUSES.add(
    "dropout twice in a row",
    "Does something lie between any two dropouts?",
    "Its input comes from the dropout in {} already, and two of rates p and q are one of "
    "rate 1 - (1 - p) * (1 - q). Remove one of them.",
)
SHAPE = MISUSES.add(
    "channel dropout on other shapes",
    "Does channel dropout get a batch of sequences, images or volumes?",
    "{}, so it takes another axis for the channels, and drops whole rows or single units. "
    "Use nn.Dropout, the layer for these dimensions, or add the batch axis.",
)
RATE = MISUSES.add(
    "p = 0 or p = 1",
    "Is every drop probability strictly between 0 and 1?",
    "{}; p is the probability to drop, not to keep. Remove the layer or choose another p.",
)
STUCK = MISUSES.add(
    "dropout stuck in one mode",
    "Do model.eval() and model.train() reach every dropout?",
    "It {}. Keep layers in attributes, nn.ModuleList or nn.ModuleDict, not in plain lists or "
    "dicts, and let an overridden train() call super().train(mode). If it is frozen, or "
    "Monte Carlo dropout, on purpose, keep it.",
)
RNN = MISUSES.add(
    "RNN dropout with one layer",
    "Does every recurrent network with dropout have two layers or more?",
    "dropout={} acts between stacked layers, and there is only one: it does nothing. Use "
    "num_layers=2 or more, or an nn.Dropout on its output.",
)

# What a finding says of its place
NO_EFFECT = "With p = 0 it has no effect"
ALL_ZEROS = "With p = 1 its output is all zeros in training"
ON = "still drops after model.eval(), so predictions are random"
OFF = "does not drop after model.train(), so it does nothing"

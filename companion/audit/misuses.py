"""What `companion.audit.audit_model` looks for, what it asks, and what it says when it finds it."""

from typing import NamedTuple

from companion.audit.report import Check, Verdict


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
    verdict: Verdict = "fail"

    def check(self) -> Check:
        name, meaning, advice, code = self.misuse
        said = advice.format(self.said)
        return Check(name, meaning, self.verdict, self.path, "", said, code)


class Findings(list[Finding]):
    """Findings in the order in which they were made; one may come twice."""

    def add(
        self, misuse: Misuse, path: str, said: str = "", verdict: Verdict = "fail"
    ) -> None:
        self.append(Finding(misuse, path, said, verdict))

    def of(self, misuse: Misuse) -> list[Finding]:
        """Return the findings of one misuse, each once."""
        return [found for found in dict.fromkeys(self) if found.misuse == misuse]


MISUSES = Misuses()

ACTIVE = MISUSES.add(
    "dropout active in eval()",
    "Does every dropout rest after model.eval(), and do two passes agree?",
    "{} in eval() as well, so predictions are random and the same input gets different "
    "answers. Pass training=self.training; make layers in __init__, not in forward. Is it on "
    "purpose, as in Monte Carlo dropout (Gal and Ghahramani, 2016)? Then keep it.",
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
    "{} p is the probability to drop, not to keep.",
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

REPEATS = MISUSES.add(
    "masks that repeat",
    "Do two training passes in a row draw other masks?",
    "{}, so every batch trains the same thinned network. Draw a mask in each forward pass, and "
    "make and seed generators once, in __init__.",
)
RESET = MISUSES.add(
    "random numbers set back",
    "Does a forward pass leave the generators that nobody owns where its draws end?",
    "After two passes from different seeds the generator of {} stands in the same place: it is "
    "seeded or set in forward, and whatever draws from it repeats itself. Give the model a "
    "generator of its own, or seed once, before training.",
)
SHARED = MISUSES.add(
    "one mask for the batch",
    "Do the samples of a batch get masks of their own?",
    "{}. Gradients of the samples of a batch are then those of one thinned network. Draw the "
    "mask in the shape of the input, with the batch axis.",
)
CARRIED = MISUSES.add(
    "one mode changes the other",
    "Is eval() the same after a training pass, and training the same after eval()?",
    "{}. Keep nothing of a pass in attributes that the other mode reads.",
)
CHECKPOINT = MISUSES.add(
    "other masks when recomputed",
    "Does a checkpoint that computes again in the backward pass drop the same units?",
    "{}, so the gradient is that of another network than the loss. Leave "
    "preserve_rng_state=True, and draw from PyTorch's own generator, which a checkpoint puts "
    "back, or from a key.",
)
MOVED = MISUSES.add(
    "statistics move in eval()",
    "Are buffers after a pass in eval() what they were before?",
    "{} changes with each prediction, so answers depend on what was asked before and on the "
    "batch. Is it Monte Carlo dropout? Then switch on the dropouts alone: only they are to be "
    "in training mode.",
)
MODES = MISUSES.add(
    "mode not put back",
    "Does a forward pass leave train() and eval() as it found them?",
    "A forward pass in {} mode. Whoever calls train() or eval() within forward must put the "
    "mode back, of every submodule, also after an error.",
)
BATCH = MISUSES.add(
    "answers depend on the batch",
    "Does eval() give a sample alone the answer that it gets in a batch?",
    "In eval() a sample gets another answer alone than in a batch. Is it meant? Batch "
    "normalisation in training mode, or without running statistics, does so.",
)

# What a finding says of its place
NO_EFFECT = "With p = 0 these have no effect: off by default, or an argument that is not handed on?"
ALL_ZEROS = "With p = 1 its output is all zeros in training; choose another p."
ON = "still drops after model.eval(), so predictions are random"
OFF = "does not drop after model.train(), so it does nothing"
PART = "Its outputs differ from pass to pass"

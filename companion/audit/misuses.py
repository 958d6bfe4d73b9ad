"""What `companion.audit.audit_model` looks for, what it asks, and what it says when it finds it."""

RAN = "forward pass ran"
ACTIVE = "dropout active in eval()"
OUTPUT = "dropout on the output"
BATCHNORM = "dropout right before BatchNorm"
TWICE = "dropout twice in a row"
SHAPE = "channel dropout on other shapes"
RATE = "p = 0 or p = 1"
STUCK = "dropout stuck in one mode"
RNN = "RNN dropout with one layer"

MISUSES = {
    ACTIVE: (
        "Does every dropout rest after model.eval()?",
        "{} drops in eval() as well, so predictions are random and the same input gets different "
        "answers. Pass training=self.training; make layers in __init__, not in forward. If this "
        "is Monte Carlo dropout (Gal and Ghahramani, 2016), which looks the same, keep it.",
    ),
    OUTPUT: (
        "Does something with weights come after every dropout?",
        "Nothing with weights comes after it, so training sees outputs set to zero or scaled up "
        "at random, and no later layer can make up for it. Move it before the last layer. If "
        "this model is a part of a larger one, audit the whole.",
    ),
    BATCHNORM: (
        "Is no dropout followed at once by batch normalisation?",
        "BatchNorm {} keeps the variance of what was dropped out, which is not the one it meets "
        "in eval() (variance shift: Li et al., 2019). Put the dropout after the last BatchNorm, "
        "or right before a layer with weights.",
    ),
    TWICE: (
        "Does something lie between any two dropouts?",
        "Its input comes from the dropout in {} already, and two of rates p and q are one of "
        "rate 1 - (1 - p) * (1 - q). Remove one of them.",
    ),
    SHAPE: (
        "Does channel dropout get a batch of sequences, images or volumes?",
        "{}, so it takes another axis for the channels, and drops whole rows or single units. "
        "Use nn.Dropout, the layer for these dimensions, or add the batch axis.",
    ),
    RATE: (
        "Is every drop probability strictly between 0 and 1?",
        "{}; p is the probability to drop, not to keep. Remove the layer or choose another p.",
    ),
    STUCK: (
        "Do model.eval() and model.train() reach every dropout?",
        "It {}. Keep layers in attributes, nn.ModuleList or nn.ModuleDict, not in plain lists or "
        "dicts, and let an overridden train() call super().train(mode). If it is frozen, or "
        "Monte Carlo dropout, on purpose, keep it.",
    ),
    RNN: (
        "Does every recurrent network with dropout have two layers or more?",
        "dropout={} acts between stacked layers, and there is only one: it does nothing. Use "
        "num_layers=2 or more, or an nn.Dropout on its output.",
    ),
}
ON = "still drops after model.eval(), so predictions are random"
OFF = "does not drop after model.train(), so it does nothing"
NO_EFFECT = "With p = 0 it has no effect"
ALL_ZEROS = "With p = 1 its output is all zeros in training"

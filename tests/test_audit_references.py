"""Auditing whole networks: no false alarm where dropout is used well, and nothing is changed."""

import copy
import random
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import BatchNorm2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from torch.nn import functional as F

import companion.nn
from companion.audit import audit_model
from companion.audit.misuses import ACTIVE, BATCHNORM

IMAGES = torch.ones(2, 3, 8, 8)
TOKENS = torch.tensor([[1, 2, 3], [4, 5, 0]])


def conv(*channels):
    return nn.Conv2d(*channels, 3, padding=1)


def lenet():
    features = Sequential(conv(3, 6), ReLU(), MaxPool2d(2), conv(6, 16), ReLU())
    hidden = Sequential(Linear(64, 120), ReLU(), Dropout(), Linear(120, 84), ReLU())
    return Sequential(
        features, MaxPool2d(2), Flatten(), hidden, Dropout(), Linear(84, 10)
    )


def vgg():
    features = Sequential(conv(3, 8), BatchNorm2d(8), ReLU(inplace=True), MaxPool2d(2))
    hidden = [
        Linear(128, 16),
        ReLU(True),
        Dropout(),
        Linear(16, 16),
        ReLU(True),
        Dropout(),
    ]
    return Sequential(features, Flatten(), Sequential(*hidden, Linear(16, 10)))


class Block(nn.Module):
    """Of a ResNet: conv-BN-ReLU-conv-BN, added to the input."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 3), BatchNorm2d(3)
        self.conv2, self.bn2 = conv(3, 3), BatchNorm2d(3)

    def forward(self, x):
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class WideBlock(Block):
    """As in the paper's figure, or with dropout right after a convolution, as in its code."""

    def __init__(self, as_in_the_code=False):
        super().__init__()
        self.drop, self.as_in_the_code = Dropout(0.3), as_in_the_code

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        if self.as_in_the_code:
            return x + self.conv2(F.relu(self.bn2(self.drop(y))))
        return x + self.conv2(self.drop(F.relu(self.bn2(y))))


def resnet(*blocks):
    pool = nn.AdaptiveAvgPool2d(1)
    return Sequential(*blocks, pool, Flatten(), Dropout(), Linear(3, 10))


class Transformer(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embed, self.drop = nn.Embedding(10, 8), Dropout(0.1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not options)
        self.fc = Linear(8, 10)

    def forward(self, x):
        y = self.drop(self.embed(x))
        return self.fc(self.encoder(y, src_key_padding_mask=x == 0))


class Tagger(nn.Module):
    """A recurrent network with dropout between its layers and before its head."""

    def __init__(self):
        super().__init__()
        self.embed, self.drop = nn.Embedding(10, 8), Dropout(0.1)
        self.lstm = nn.LSTM(8, 8, 2, batch_first=True, dropout=0.1)
        self.fc = Linear(8, 10)

    def forward(self, x):
        return self.fc(self.drop(self.lstm(self.drop(self.embed(x)))[0]))


REFERENCES = {
    "LeNet": (lenet(), IMAGES),
    "VGG": (vgg(), IMAGES),
    "ResNet": (resnet(Block(), Block()), IMAGES),
    "WideResNet": (resnet(WideBlock(), WideBlock(), BatchNorm2d(3), ReLU()), IMAGES),
    "Transformer": (Transformer(), TOKENS),
    "Transformer, norm first": (Transformer(norm_first=True), TOKENS),
    "LSTM": (Tagger(), {"x": TOKENS}),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_no_false_alarm_on_a_reference_network(name):
    model, x = REFERENCES[name]
    assert {check.verdict for check in audit_model(model, x).checks} == {"pass"}
    assert audit_model(model).passed


def test_dropout_right_before_the_second_norm_of_a_wide_block_is_reported():
    model = resnet(WideBlock(as_in_the_code=True), WideBlock(), BatchNorm2d(3))
    (finding,) = audit_model(model, IMAGES).failures
    assert (finding.name, finding.measured) == (BATCHNORM.name, "0.drop")


class Restless(nn.Module):
    """Draws from everything, changes its input and keeps a count."""

    def __init__(self):
        super().__init__()
        self.generator, self.calls = torch.Generator(), 0
        self.drop = companion.nn.Dropout(inplace=True, generator=self.generator)
        self.fc, self.bn = Linear(8, 8), nn.BatchNorm1d(8)

    def forward(self, x):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        self.calls += 1
        return self.bn(self.fc(self.drop(x.mul_(2))))

    def state(self):
        parts, numpy = [*self.modules()], np.random.get_state()  # noqa: NPY002
        hooks = [[*part._forward_hooks.values()] for part in parts]
        said = hooks, [part.training for part in parts], torch.is_grad_enabled()
        drawn = random.getstate(), numpy[1].tolist(), numpy[2:], self.calls
        held = [torch.get_rng_state(), self.generator.get_state(), *self.buffers()]
        held += [y for p in self.parameters() for y in (p, p.grad)]
        return repr((said, drawn)), copy.deepcopy(held)


def test_model_input_and_random_numbers_are_left_as_they_were():
    model, x = Restless(), torch.linspace(-1, 1, 32).reshape(4, 8)
    model(x.clone()).sum().backward()
    model.bn.register_forward_hook(lambda *_: None)
    model.fc.eval()
    given, (said, held) = x.clone(), model.state()
    assert audit_model(model, x).passed
    assert model.state()[0] == said
    torch.testing.assert_close(model.state()[1], held, rtol=0, atol=0)
    assert torch.equal(x, given)


def test_it_runs_on_the_device_of_the_model():
    model = resnet(Dropout(), BatchNorm2d(3)).to("meta")
    (finding,) = audit_model(model, IMAGES.to("meta")).failures
    assert (finding.name, finding.measured) == (BATCHNORM.name, "0")


class Careful(nn.Module):
    """Catches what a part raises, and drops after it."""

    def __init__(self):
        super().__init__()
        self.inner = resnet(conv(3, 3))

    def forward(self, x):
        with suppress(RuntimeError):
            self.inner(x)
        return self.inner[-1](F.dropout(x))


def test_a_part_that_raises_and_is_caught_is_not_taken_for_the_caller():
    (finding,) = audit_model(Careful(), torch.ones(2, 3)).failures
    assert (finding.name, finding.measured) == (ACTIVE.name, "(the model itself)")


RECORDED = []  # not in the hook's closure, which would be put back


def test_gradients_are_recorded_in_one_pass_of_training():
    model = resnet()
    model.register_forward_hook(lambda *_: RECORDED.append(torch.is_grad_enabled()))
    audit_model(model, IMAGES)
    assert sum(RECORDED) == 1
    assert len(RECORDED) < 40

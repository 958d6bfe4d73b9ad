"""Auditing a PyTorch model: each misuse where it is, and what only looks like one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import BatchNorm1d, Dropout, Flatten, Linear, ReLU, Sequential
from torch.nn import functional as F

import companion
from companion.audit import audit_model
from companion.audit import misuses as m
from companion.audit.model import ORDER, PROBES, RAN

ROOT = "(the model itself)"
X = torch.linspace(-1, 1, 32).reshape(4, 8)
LONG = torch.ones(2, 3, 8)  # sequences; as images they lack an axis
IMAGES = torch.ones(2, 3, 8, 8)


class Net(nn.Module):
    """Whatever `run(net, x)` does with the parts, and a layer with weights at the end."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run, self.fc = run, Linear(8, 8)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.fc(self.run(self, x))


class Bare(Net):
    def forward(self, x):
        return self.run(self, x)


class AlwaysOn(Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, training=True)


class ByHand(Dropout):
    def forward(self, x):
        return x * torch.empty_like(x).bernoulli_(1 - self.p) if self.training else x


class Pinned(Dropout):
    def __init__(self, mode):
        super().__init__()
        self.training = mode

    def train(self, mode=True):
        return self


class Reaching(Net):
    def train(self, mode=True):
        self.drops[0].train(mode)
        return super().train(mode)


def bypassing(part):
    net = Net(lambda net, x: net.drop(x))
    net.__dict__["drop"] = part
    return net


def rnn(kind=nn.LSTM, num_layers=1, dropout=0.5):
    layer = kind(8, 8, num_layers)
    layer.dropout = dropout  # set later, it does not warn
    return layer


def seq(*parts):
    """The parts between two layers with weights."""
    return Sequential(Linear(8, 8), *parts, Linear(8, 8))


def resting(n, x):
    return F.dropout(x, 0.5, n.training)


def sdpa(p):
    return lambda n, x: F.scaled_dot_product_attention(x, x, x, dropout_p=p(n))


def found(model, x=None):
    return {(check.name, check.measured) for check in audit_model(model, x).failures}


def verdicts(model, x=None):
    return {check.name: check.verdict for check in audit_model(model, x).checks}


D, D2, BN, shared = Dropout(), nn.Dropout2d, BatchNorm1d(8), Dropout()
PRESENT = {
    m.ACTIVE: [
        (ROOT, Net(lambda n, x: F.dropout(x)), X),
        (ROOT, Net(lambda n, x: F.dropout(x, 0.3, inplace=True)), X),
        (ROOT, Net(lambda n, x: F.dropout2d(x)), IMAGES),
        (ROOT, Net(lambda n, x: F.alpha_dropout(x, training=True)), X),
        (ROOT, Net(lambda n, x: F.feature_alpha_dropout(x, training=True)), X),
        (ROOT, Net(lambda n, x: torch.dropout(x, 0.5, True)), X),
        (ROOT, Net(lambda n, x: torch.dropout(input=x, p=0.5, train=True)), X),
        (ROOT, Net(lambda n, x: torch.feature_dropout_(x, 0.5, train=True)), X),
        (ROOT, Net(lambda n, x: companion.nn.functional.dropout(x, 0.5, True)), X),
        (ROOT, Net(lambda n, x: Dropout()(x)), X),  # made in forward, so in training
        (ROOT, Net(sdpa(lambda n: 0.1)), LONG),
        ("1", seq(AlwaysOn()), X),
        ("0.0", Sequential(Sequential(Net(lambda n, x: F.dropout(x)))), X),
        ("f[0]", Net(lambda n, x: n.f[0](x), f=[Net(resting)]), X),  # eval() misses it
    ],
    m.OUTPUT: [
        ("1", Sequential(Linear(8, 8), D), X),
        ("1", Sequential(Linear(8, 8), companion.nn.Dropout()), X),
        ("1", Sequential(Linear(8, 8), ByHand(), Flatten()), X),
        ("1.1", Sequential(ReLU(), Sequential(Linear(8, 8), D)), X),
        ("0 = 2", Sequential(shared, Linear(8, 8), shared), X),
        (ROOT, Bare(lambda n, x: F.dropout(n.fc(x), 0.5, n.training)), X),
        (ROOT, Bare(lambda n, x: torch.native_dropout(n.fc(x), 0.5, n.training)[0]), X),
        ("d", Bare(lambda n, x: n.d(n.fc(x)).log_softmax(1), d=D), X),
        ("d", Bare(lambda n, x: {"y": (n.fc(x), n.d(n.fc(x)))}, d=D), X),
        ("d", Bare(lambda n, x: (y := n.d(x), n.fc(y))[0], d=D), X),  # logits forgotten
        ("d", Bare(lambda n, x: [y := n.d(n.fc(x)), F.mse_loss(y, x)], d=D), X),
    ],
    m.BATCHNORM: [
        ("1", seq(D, BN), X),
        ("1.1", seq(Sequential(ReLU(), companion.nn.Dropout()), BN), X),
        ("1", seq(nn.AlphaDropout(inplace=True), Flatten(), ReLU(), BN), X),
        ("1 = 3", seq(shared, Linear(8, 8), shared, BN), X),
        ("d", Net(lambda n, x: n.bn(F.relu(n.d(input=x))), d=D, bn=BN), X),
    ],
    m.TWICE: [
        ("2", seq(D, Dropout()), X),
        ("2", seq(companion.nn.Dropout(), companion.nn.Dropout(inplace=True)), X),
        ("3", seq(D, Flatten(), nn.AlphaDropout()), X),
        ("1 = 2", seq(shared, shared), X),
        ("2.0", seq(D, Sequential(Dropout(inplace=True), ReLU())), X),
        (ROOT, Net(lambda n, x: F.dropout(n.d(x).T.T, 0.1, n.training), d=D), X),
    ],
    m.SHAPE: [
        ("1", seq(D2()), LONG),
        ("1", seq(nn.Dropout1d()), X),
        ("1.1", seq(Sequential(ReLU(), nn.Dropout3d())), IMAGES),
        ("1", seq(companion.nn.Dropout2d()), LONG),
        ("1", seq(companion.nn.Dropout1d()), X),
        (ROOT, Net(lambda n, x: F.dropout2d(x, 0.5, n.training)), LONG),
    ],
    m.RATE: [
        ("1.0", seq(Sequential(Dropout(1.0))), X),
        (ROOT, Net(lambda n, x: F.dropout(x, 1.0, n.training)), X),
        (ROOT, nn.MultiheadAttention(8, 2, dropout=1), (LONG, LONG, LONG)),
        ("0", Sequential(rnn(nn.GRU, 2, dropout=1.0)), LONG),
    ],
    m.STUCK: [
        ("d[1]", Net(lambda n, x: n.d[1](x), d=[ReLU(), Dropout()]), X),
        ("d['a']", Net(lambda n, x: n.d["a"](x), d={"a": Dropout()}), X),
        ("1.d[0].1", seq(Net(lambda n, x: x, d=(Sequential(ReLU(), D),))), X),
        ("d[0].d[0]", Net(lambda n, x: x, d=[Net(None, d=[D])]), X),
        ("drop", bypassing(Dropout()), X),
        ("drop.0", bypassing(Sequential(rnn(num_layers=2))), None),
        ("1", seq(Pinned(True)), X),
        ("1", seq(Pinned(False)), X),
    ],
    m.RNN: [
        ("0", Sequential(rnn(companion.nn.LSTM)), LONG),
        ("0", Sequential(rnn(nn.GRU)), LONG),
        ("0.r", Sequential(Net(lambda n, x: n.r(x)[0], r=rnn())), {"input": LONG}),
    ],
}
CASES = [(misuse.name, *case) for misuse, cases in PRESENT.items() for case in cases]
ADJACENT = {misuse.name for misuse in ORDER}


@pytest.mark.parametrize(("misuse", "path", "model", "x"), CASES)
def test_a_misuse_is_found_in_its_place_and_nothing_else(misuse, path, model, x):
    assert found(model, x) == {(misuse, path)}


@pytest.mark.parametrize(
    ("misuse", "path", "model"),
    [c[:3] for c in CASES if c[0] in ADJACENT and isinstance(c[2], Sequential)],
)
def test_in_a_chain_it_is_found_without_an_input(misuse, path, model):
    assert found(model) == {(misuse, path)}
    said = verdicts(model).items()
    unknown = {name for name, verdict in said if verdict == "not applicable"}
    assert unknown == {RAN, m.SHAPE.name} | {misuse.name for misuse in PROBES}


def test_without_an_input_the_rest_is_not_applicable_and_says_so():
    report = audit_model(Net(lambda n, x: x, inner=seq(D, BN)))
    missing = {c.name: c.measured for c in report.checks if c.verdict != "pass"}
    names = [RAN, m.OUTPUT.name, m.TWICE.name, m.SHAPE.name]
    names += [misuse.name for misuse in PROBES]
    reasons = dict.fromkeys(names, "needs an example_input")
    assert missing == {m.BATCHNORM.name: "inner.1"} | reasons


NEAR_MISSES = {
    "functional at rest": (Net(resting), X),
    "functional with p = 0": (Net(lambda n, x: F.dropout(x, 0.0)), X),
    "of torch at rest": (Net(lambda n, x: torch.dropout(x, 0.5, train=n.training)), X),
    "p = 0 after another": (Net(lambda n, x: F.dropout(n.d(x), 0.0), d=D), X),
    "attention at rest": (Net(sdpa(lambda n: 0.1 * n.training)), LONG),
    "features beside logits": (Bare(lambda n, x: [y := n.d(x), n.fc(y)], d=D), X),
    "residual at the end": (Bare(lambda n, x: n.fc(x) + n.d(n.fc(x)), d=D), X),
    "weights before the norm": (seq(D, Linear(8, 8), BN), X),
    "layer norm": (seq(D, nn.LayerNorm(8)), X),
    "no running statistics": (seq(D, BatchNorm1d(8, track_running_stats=False)), X),
    "a branch beside": (Net(lambda n, x: (n.d(x), n.bn(x))[1], d=D, bn=BN), X),
    "residual before the norm": (Net(lambda n, x: n.bn(n.d(x) + x), d=D, bn=BN), X),
    "in place": (Net(lambda n, x: n.bn(n.d(x).add_(x)), d=D, bn=BN), X),
    "activation between two": (seq(D, ReLU(), Dropout()), X),
    "weights between two": (seq(D, Linear(8, 8), Dropout()), X),
    "two on one input": (Net(lambda n, x: n.d(x) + n.e(x), d=D, e=Dropout()), X),
    "channels of a batch": (seq(D2()), IMAGES),
    "channels of sequences": (seq(nn.Dropout1d()), LONG),
    "channels of volumes": (seq(nn.Dropout3d()), IMAGES[None]),
    "p near 0 and 1": (seq(Dropout(1e-3), ReLU(), Dropout(0.999)), X),
    "attention without": (nn.MultiheadAttention(8, 2), (LONG, LONG, LONG)),
    "transformer without": (nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0), LONG),
    "listed and registered": (Net(lambda n, x: n.d(x), d=D, listed=[D]), X),
    "in a ModuleList": (Net(lambda n, x: n.d[0](x), d=nn.ModuleList([D])), X),
    "train() of its own": (Reaching(lambda n, x: n.drops[0](x), drops=[Dropout()]), X),
    "two layers": (Sequential(rnn(num_layers=2)), LONG),
    "one layer without": (Sequential(rnn(dropout=0.0)), LONG),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_only_looks_like_a_misuse(name):
    model, x = NEAR_MISSES[name]
    assert found(model, x) == found(model) == set()


def test_the_report():
    report = audit_model(seq(D, BN, nn.Dropout2d(1)), X)
    assert list(dict.fromkeys(c.name for c in report.checks)) == [
        RAN,
        *(x.name for x in m.MISUSES),
    ]
    assert report.checks[-1].measured == "none found"
    said = {c.name: c.consequence for c in report.failures}
    assert "BatchNorm 2 keeps" in said[m.BATCHNORM.name]
    assert "dropout2d takes 4 axes and got 2" in said[m.SHAPE.name]
    assert "Monte Carlo" in audit_model(seq(AlwaysOn()), X).failures[0].consequence


def failing(*modes):
    def run(net, x):
        if net.training in modes:
            raise ValueError("no\nluck")
        return net.d(x)

    return Bare(run, d=D)


def test_where_eval_raises_it_could_not_run_and_says_what_was_called():
    report = audit_model(failing(True, False), {"x": X})
    assert report.passed is None
    assert "eval(): ValueError: no luck" in report.obstacle
    assert "model(x=a float32 tensor of shape (4, 8))" in report.obstacle
    assert "audit_model(model, (x, mask))" in report.obstacle
    ran, *checks = report.checks
    assert (ran.code, ran.verdict) == ("DR300", "not applicable")
    unknown = {c.name for c in checks if c.measured == "the model did not run"}
    assert unknown == {misuse.name for misuse in (*ORDER, *PROBES, m.SHAPE)}
    tree = audit_model(Sequential(Linear(3, 8), rnn(), Dropout(1.0), Linear(8, 8)), X)
    assert {c.name for c in tree.failures} == {m.RNN.name, m.RATE.name}
    assert tree.passed is None


def test_where_only_one_mode_raises_the_other_is_looked_at():
    training = audit_model(failing(True), X)
    assert training.checks[0].verdict == "note"
    assert training.checks[0].measured == "train(): ValueError: no luck"
    assert [c.name for c in training.failures] == [m.OUTPUT.name]
    assert verdicts(failing(True), X)[m.REPEATS.name] == "not applicable"
    assert verdicts(failing(True), X)[m.ACTIVE.name] == "pass"
    evaluation = verdicts(failing(False), X)
    assert (evaluation[RAN], evaluation[m.ACTIVE.name]) == ("not applicable",) * 2


def test_layers_that_are_off_are_one_note():
    report = audit_model(seq(Dropout(0), ReLU(), companion.nn.Dropout(0), Dropout()), X)
    (note,) = [c for c in report.checks if c.verdict == "note"]
    assert (note.name, note.measured) == (m.RATE.name, "1, 3")
    assert report.passed
    assert "not handed on" in note.consequence


@pytest.mark.parametrize("model", [None, Dropout, "resnet"])
def test_anything_else_is_refused(model):
    with pytest.raises(TypeError, match=r"needs a torch\.nn\.Module; got") as error:
        audit_model(model)
    assert repr(model) in str(error.value)


NEEDS = (
    "companion.audit.audit_model needs PyTorch: pip install 'dropout-companion[torch]'"
)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import companion.audit; print('torch' in sys.modules)", "False"),
        (
            "import companion.audit; sys.modules['torch'] = None; "
            "companion.audit.audit_model",
            NEEDS,
        ),
    ],
)
def test_torch_is_imported_when_it_is_needed(code, said):
    command = [sys.executable, "-c", f"import sys; {code}"]
    root = Path(companion.__file__).parents[1]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (result.stdout + result.stderr).endswith(f"{said}\n")


def test_random_numbers_of_cuda_are_put_back(monkeypatch):
    held, put = [torch.arange(4, dtype=torch.uint8)] * 2, []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: held)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put.append)
    audit_model(seq(D), X)
    assert [[state.tolist() for state in states] for states in put] == [
        [[0, 1, 2, 3]] * 2
    ]


def test_cuda_is_not_started(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: asked.append(1) or [])
    audit_model(seq(D), X)
    assert asked == []


def test_where_one_mode_ran_a_chain_that_did_not_is_no_finding():
    model = failing(False)
    model.unused = seq(D, BN)
    assert verdicts(model, X)[m.BATCHNORM.name] == "pass"


class NeuralNet:
    """What holds a network, in the manner of skorch."""

    def __init__(self):
        self.module_ = Linear(8, 8)


def test_of_what_holds_a_network_it_says_where():
    with pytest.raises(TypeError, match=r"hand over the network inside it, \.module_"):
        audit_model(NeuralNet())


@pytest.mark.parametrize(
    ("package", "name"),
    [("skorch.classifier", "module_"), ("pytorch_tabnet.x", "network")],
)
def test_of_what_will_hold_a_network_too(package, name):
    members = {"__module__": package, "initialize": 1} if name == "module_" else {}
    kind = type("Net", (), {"__module__": package} | members)
    with pytest.raises(TypeError, match=rf"fit it and hand over .*, \.{name}"):
        audit_model(kind())

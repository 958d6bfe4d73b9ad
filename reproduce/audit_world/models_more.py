"""More whole models: of sequences, of language and speech, and what samples at rest on purpose."""

from dataclasses import replace

from audit_world.models import GRAPH, PICTURE, TOKENS, case

ON_PURPOSE = "Monte Carlo dropout, on purpose"
SAMPLES = "x = torch.randn(4, 8)"
SPEECH = ("torchaudio",)
NET = "net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))"
TABLE = (
    "from tsai.models.TabTransformer import TabTransformer\n"
    "classes = {'a': [1, 2, 3], 'b': [1, 2]}\n"
    "model = TabTransformer(classes, ['c'], 2, d_model=16, n_layers=1, n_heads=2{})\n"
    "x = (torch.ones(4, 2, dtype=torch.long), torch.randn(4, 1))"
)
LSTM = (
    "from speechbrain.nnet.RNN import LSTM\nmodel = LSTM(16, input_size=16{})\n"
    + TOKENS
)

APPNP = case(
    "torch-geometric",
    "APPNP(K=10, dropout=0.5)",
    "from torch_geometric.nn import APPNP\n"
    f"model = APPNP(K=10, alpha=0.1, dropout=0.5)\n{GRAPH}",
    "torch_geometric/nn/conv/appnp.py:117, 121, 125: edge weights that were dropped in one step "
    "are dropped again in the next, so of 10 steps the last sees 1 edge in 1024, scaled by 1024; "
    "known upstream",
    "fail",
    "model(*x)",
)

WEIGHT_DROP = case(
    "pytorch-nlp",
    "WeightDropLSTM(weight_dropout=0.5)",
    "from torchnlp.nn import WeightDropLSTM\n"
    "model = WeightDropLSTM(16, 16, weight_dropout=0.5)\n" + TOKENS,
    "torchnlp/nn/weight_drop.py:22: at rest F.dropout returns the Parameter itself, which setattr "
    "registers; from then on a training pass cannot put a plain tensor there, and raises",
    "fail",
    "model(x)[0]",
)

CASES = [
    replace(
        APPNP,
        lines=f"""import torch
torch.manual_seed(0)
from torch_geometric.nn import APPNP
model = APPNP(K=10, alpha=0.1, dropout=0.5)
{GRAPH}
print("nothing came from a neighbour:", torch.allclose(model(*x), 0.1 * x[0]))""",
    ),
    case(
        "tsai",
        "TabTransformer",
        TABLE.replace("{}", ""),
        call="model(*x)",
        missing=("torchvision",),
    ),
    case(
        "tsai",
        "TabTransformer(drop_whole_embed=True)",
        TABLE.replace("{}", ", drop_whole_embed=True"),
        "tsai/models/TabTransformer.py:76: FullEmbeddingDropout asks for no mode, and draws one "
        "mask for the whole batch",
        "fail",
        "model(*x)",
        ("torchvision",),
    ),
    case(
        "timm",
        "VisionTransformer(drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1)",
        "from timm.models.vision_transformer import VisionTransformer\n"
        "model = VisionTransformer(32, 8, num_classes=4, embed_dim=16, depth=2, num_heads=2, "
        "drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1)\n" + PICTURE,
        missing=("torchvision",),
    ),
    case(
        "timm",
        "ResNet(drop_rate=0.1, drop_block_rate=0.1, drop_path_rate=0.1)",
        "from timm.models.resnet import BasicBlock, ResNet\n"
        "model = ResNet(BasicBlock, (1, 1, 1, 1), num_classes=4, channels=(8, 8, 8, 8), "
        "drop_rate=0.1, drop_block_rate=0.1, drop_path_rate=0.1)\n"
        "x = torch.randn(2, 3, 64, 64)",
        missing=("torchvision",),
    ),
    case(
        "timm",
        "efficientnet_b0(drop_rate=0.2, drop_path_rate=0.2)",
        "import timm\n"
        "model = timm.create_model('efficientnet_b0', num_classes=4, drop_rate=0.2, "
        "drop_path_rate=0.2)\nx = torch.randn(2, 3, 64, 64)",
        missing=("torchvision",),
    ),
    case(
        "speechbrain",
        "TransformerEncoder(dropout=0.1)",
        "from speechbrain.lobes.models.transformer.Transformer import TransformerEncoder\n"
        "model = TransformerEncoder(2, 2, 32, d_model=16, dropout=0.1)\n" + TOKENS,
        call="model(x)[0]",
        missing=SPEECH,
    ),
    case(
        "speechbrain",
        "LSTM(num_layers=2, dropout=0.3)",
        LSTM.format(", num_layers=2, dropout=0.3"),
        call="model(x)[0]",
        missing=SPEECH,
    ),
    case(
        "speechbrain",
        "LSTM(num_layers=1, dropout=0.3)",
        LSTM.format(", num_layers=1, dropout=0.3"),
        "speechbrain/nnet/RNN.py:256: its dropout is that of torch.nn.LSTM, which drops between "
        "layers, and there is one; the docs do not say so",
        "fail",
        "model(x)[0]",
        SPEECH,
    ),
    case(
        "speechbrain",
        "LiGRU(num_layers=2, dropout=0.3)",
        "from speechbrain.nnet.RNN import LiGRU\n"
        "model = LiGRU(16, (2, 8, 16), num_layers=2, dropout=0.3)\n" + TOKENS,
        call="model(x)[0]",
        missing=SPEECH,
    ),
    case(
        "speechbrain",
        "CRDNN(dropout=0.15)",
        "from speechbrain.lobes.models.CRDNN import CRDNN\n"
        "model = CRDNN(input_shape=[None, None, 16], cnn_blocks=1, cnn_channels=(8,), "
        "rnn_layers=1, rnn_neurons=8, dnn_neurons=8)\n" + TOKENS,
        "speechbrain/lobes/models/CRDNN.py:315: the last layer of the last block is a dropout",
        "fail",
        missing=SPEECH,
        definition="dropout on the output of an encoder, which has a linear layer behind it",
    ),
    case(
        "speechbrain",
        "Tacotron2's Prenet",
        "from speechbrain.lobes.models.Tacotron2 import Prenet\n"
        "model = Prenet(16, [16, 16])\n" + TOKENS,
        "speechbrain/lobes/models/Tacotron2.py:441: training=True, in evaluation mode as well",
        "fail",
        missing=SPEECH,
        definition="on purpose: speech is sampled with dropout in Tacotron 2",
    ),
    case(
        "fastai",
        "AWD_LSTM",
        "from fastai.text.models.awdlstm import AWD_LSTM\n"
        "model = AWD_LSTM(99, 16, 16, 2)\nx = torch.arange(16).reshape(2, 8)",
        "fastai/text/models/awdlstm.py: every dropout asks self.training; the hidden state is kept "
        "from one pass to the next on purpose, until reset()",
        call="(model.reset(), model(x))[1]",
        missing=("torchvision", "fasthtml"),
    ),
    replace(
        WEIGHT_DROP,
        lines=f"""import torch
torch.manual_seed(0)
from torchnlp.nn import WeightDropLSTM
model = WeightDropLSTM(16, 16, weight_dropout=0.5)
{TOKENS}
model.eval()(x)
try:
    model.train()(x)
except TypeError as error:
    print(error)""",
    ),
    case(
        "stanza",
        "LSTMwRecDropout(dropout=0.3, rec_dropout=0.3)",
        "from stanza.models.common.packed_lstm import LSTMwRecDropout\n"
        "from torch.nn.utils.rnn import pack_padded_sequence\n"
        "model = LSTMwRecDropout(16, 16, 2, batch_first=True, dropout=0.3, rec_dropout=0.3)\n"
        "x = pack_padded_sequence(torch.randn(2, 8, 16), [8, 8], batch_first=True)",
        call="model(x)[0].data",
    ),
    case(
        "baal",
        "MCDropoutModule",
        "from torch import nn\nfrom baal.bayesian.dropout import MCDropoutModule\n"
        f"{NET}\nmodel = MCDropoutModule(net)\n{SAMPLES}",
        "baal/bayesian/dropout.py:40: F.dropout with training=True",
        "fail",
        missing=("torchvision", "lightning", "datasets"),
        definition=ON_PURPOSE,
    ),
    case(
        "torch-uncertainty",
        "mc_dropout",
        "from torch import nn\nfrom torch_uncertainty.methods.mc_dropout import mc_dropout\n"
        f"{NET}\nmodel = mc_dropout(net, num_estimators=4)\n{SAMPLES}",
        "torch_uncertainty/methods/mc_dropout.py: train() leaves the dropout modules in training "
        "mode, whatever it is given",
        "fail",
        missing=("torchvision", "lightning", "torchmetrics", "h5py", "torchinfo"),
        definition=ON_PURPOSE,
    ),
    case(
        "skorch",
        "the module of NeuralNetClassifier(MLPModule, dropout=0.5)",
        "from skorch import NeuralNetClassifier\nfrom skorch.toy import MLPModule\n"
        "net = NeuralNetClassifier(MLPModule, module__input_units=8, module__num_hidden=2, "
        "module__dropout=0.5)\nmodel = net.initialize().module_\n" + SAMPLES,
    ),
    case(
        "pytorch-tabnet",
        "TabNet",
        "from pytorch_tabnet.tab_network import TabNet\n"
        "model = TabNet(8, 2, group_attention_matrix=torch.eye(8))\n" + SAMPLES,
        "pytorch_tabnet/tab_network.py: it has no dropout; batch normalisation moves in training",
        call="model(x)[0]",
    ),
]

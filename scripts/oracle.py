"""The PyTorch oracle: writes test/fixtures/*.safetensors, to which the tests compare their results.

    pip install torch==2.13.0 numpy safetensors
    python3 scripts/oracle.py           # all of them, some minutes
    python3 scripts/oracle.py relu add  # those of these ops

Every reference is computed in double precision and stored as f32. The cases of the ops are those of
the op book, which the tests run too: `npm run compile` first. The inputs of an op are stored with its results;
a network's weights, images and labels are not: both sides draw them from the same counter-based
generator (`words` here, lib/data/random.ts and proof/network.ts there). Images are NHWC and
filters KRSC in the ops' fixtures; networks keep PyTorch's layouts (OIHW), as checkpoints do.
"""

import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures"


# --- Threefry-2x32, 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3") ---


def threefry2x32(key, counter):
    """key: two ints; counter: two uint32 arrays. Two uint32 arrays of the same length."""
    rotations = (13, 15, 26, 6, 17, 29, 16, 24)
    keys = [np.uint32(key[0]), np.uint32(key[1]), np.uint32(0x1BD11BDA ^ key[0] ^ key[1])]
    x0, x1 = counter[0] + keys[0], counter[1] + keys[1]
    for i in range(20):
        r = rotations[i % 8]
        x0 = x0 + x1
        x1 = (x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))
        x1 = x1 ^ x0
        if i % 4 == 3:
            s = i // 4 + 1
            x0 = x0 + keys[s % 3]
            x1 = x1 + keys[(s + 1) % 3] + np.uint32(s)
    return x0, x1


def check_generator():
    """The known answers that Random123 publishes."""
    ones, pi = 0xFFFFFFFF, (0x13198A2E, 0x03707344)
    for key, counter, expected in [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        (pi, (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]:
        out = threefry2x32(key, [np.array([c], np.uint32) for c in counter])
        assert (int(out[0][0]), int(out[1][0])) == expected, (key, counter, out)


def fnv1a(text):
    """32-bit FNV-1a hash of a name: the key of its stream, so that no order has to be agreed on."""
    h = 0x811C9DC5
    for byte in text.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    return h


def words(seed, name, count):
    """`count` random uint32: words 2i and 2i+1 are the block of counter (i, 0)."""
    blocks = (count + 1) // 2
    counter = np.arange(blocks, dtype=np.uint32)
    pair = threefry2x32((seed, fnv1a(name)), [counter, np.zeros_like(counter)])
    return np.stack(pair, axis=1).reshape(-1)[:count]


def uniform(seed, name, shape):
    """Uniform in [0, 1), multiples of 2^-24."""
    count = math.prod(shape)
    return ((words(seed, name, count) >> np.uint32(8)) * 2.0**-24).reshape(shape)


def random_bytes(seed, name, shape):
    """The bytes of the words, least significant first."""
    count = math.prod(shape)
    return words(seed, name, (count + 3) // 4).astype("<u4").view(np.uint8)[:count].reshape(shape)


# --- Single ops ---


class Case:
    """Draws the inputs of one case and collects what its fixture holds."""

    def __init__(self, family, case, out):
        self.family, self.case, self.out = family, case, out
        self.dtype = {"bf16": torch.bfloat16, "f16": torch.float16}.get(case.get("dtype"))

    def put(self, name, value):
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy()
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        self.out[f"{self.case['name']}/{name}"] = np.ascontiguousarray(value)

    def rounded(self, array, low_precision):
        """Rounds to the device's type: f32, or bf16 or f16 where the case computes in that."""
        tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
        if low_precision and self.dtype:
            tensor = tensor.to(self.dtype)
        return tensor.double()

    def give(self, name, array, low_precision=None):
        """Stores an input and returns it as a leaf of the computation."""
        tensor = self.rounded(array, low_precision is not False)
        self.put(name, tensor)
        return tensor.requires_grad_()

    def inputs(self):
        """Draws the inputs that the op book lists, in its order."""
        return {
            name: self.draw(
                name,
                given["shape"],
                given.get("deviation", 1.0),
                given.get("mean", 0.0),
                False if given.get("f32") else None,
            )
            for name, given in self.case["inputs"].items()
        }

    def draw(self, name, shape, scale=1.0, offset=0.0, low_precision=None):
        """Uniform with the given standard deviation and mean."""
        u = uniform(1, f"{self.family}/{self.case['name']}/{name}", shape)
        return self.give(name, (2 * u - 1) * math.sqrt(3) * scale + offset, low_precision)

    def permutation(self, name, shape):
        """Values 1/16 apart, none nearer to zero than 1/32: no kink or tie is near."""
        count = math.prod(shape)
        random = words(1, f"{self.family}/{self.case['name']}/{name}", count)
        order = np.argsort(random, kind="stable")
        return ((order - count // 2 + 0.5) / 16).reshape(shape)

    def backward(self, y, leaves):
        """Draws and stores dy, and stores the gradient of each leaf as d<name>."""
        dy = self.draw("dy", tuple(y.shape)).detach()
        grads = torch.autograd.grad(y, list(leaves.values()), dy)
        for name, grad in zip(leaves, grads):
            self.put(f"d{name}", grad)


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def forward(compute):
    """Runs an op on random inputs and differentiates it by all of them."""

    def write(case):
        leaves = case.inputs()
        y = compute(case.case, **leaves)
        case.put("y", y)
        case.backward(y, leaves)

    return write


def conv(c, x, w):
    options = {key: c[key] for key in ("stride", "padding", "dilation", "groups") if key in c}
    return nhwc(F.conv2d(nchw(x), nchw(w), **options))


def average_pool(c, x):
    return nhwc(F.avg_pool2d(nchw(x), c["window"], c["stride"], c["padding"]))


def batch_norm(case):
    c = case.case
    channels = c["x"][3]
    x = case.draw("x", c["x"], scale=1.5, offset=c["offset"])
    gamma = case.draw("gamma", [channels], scale=0.3, offset=1, low_precision=False)
    beta = case.draw("beta", [channels], scale=0.5, low_precision=False)
    running_mean = case.draw("running-mean", [channels], low_precision=False).detach().clone()
    running_variance = case.draw("running-variance", [channels], 0.2, 1, False).detach().clone()
    leaves = {"x": x, "gamma": gamma, "beta": beta}
    if c["residual"]:
        leaves["residual"] = case.draw("residual", c["x"])

    def finish(normalized):
        y = nhwc(normalized)
        if c["residual"]:
            y = y + leaves["residual"]
        return F.relu(y) if c["relu"] else y

    def norm(training):
        running = running_mean, running_variance
        return finish(F.batch_norm(nchw(x), *running, gamma, beta, training, 0.1, 1e-5))

    case.put("inference", norm(False))
    y = norm(True)
    case.put("y", y)
    variance, mean = torch.var_mean(x, (0, 1, 2), correction=0)
    case.put("mean", mean)
    case.put("inverse-std", 1 / torch.sqrt(variance + 1e-5))
    case.put("new-running-mean", running_mean)
    case.put("new-running-variance", running_variance)
    case.backward(y, leaves)


def max_pool(case):
    c = case.case
    values = case.permutation("x", c["x"])
    if c["values"] == "ties":
        values = np.round(values / np.abs(values).max() * 3)
    if c["values"] == "negative":
        values = values - np.abs(values).max() - 1
    x = case.give("x", values)
    y = nhwc(F.max_pool2d(nchw(x), c["window"], c["stride"], c["padding"]))
    case.put("y", y)
    case.backward(y, {"x": x})


def batch_norm_max_pool(case):
    c = case.case
    values = case.permutation("x", c["x"])
    if c["values"] == "ties":
        values = np.round(values / np.abs(values).max() * 3)
    leaves = case.inputs()
    leaves["x"] = case.give("x", values)
    y = F.batch_norm(nchw(leaves["x"]), None, None, leaves["gamma"], leaves["beta"], True)
    y = F.relu(y) if c["relu"] else y
    # The pool compares rounded numbers: in 16 bits some tie that were apart.
    rounded = y + (case.rounded(y.detach().numpy(), True) - y).detach()
    y = nhwc(F.max_pool2d(rounded, c["window"], c["stride"], c["padding"]))
    case.put("y", y)
    case.backward(y, leaves)


def stem(c, x, w, gamma, beta, a, b):
    y = F.batch_norm(F.conv2d(nchw(x), nchw(w), None, 2, 3), None, None, gamma, beta, True)
    y = F.max_pool2d(F.relu(y), 3, 2, 1)
    return nhwc(F.conv2d(y, nchw(a)) + F.conv2d(y, nchw(b)))


def relu(case):
    x = case.give("x", case.permutation("x", case.case["x"]) / 4)
    y = F.relu(x)
    case.put("y", y)
    case.backward(y, {"x": x})


def add(case):
    a = case.give("a", case.permutation("a", case.case["x"]) / 4)
    # Multiples of a step of a's values keep a + b away from the kink at zero.
    b = case.give("b", np.round(2 * case.draw("noise", case.case["x"]).detach().numpy()) / 4)
    del case.out[f"{case.case['name']}/noise"]
    y = a + b
    if case.case["relu"]:
        y = F.relu(y)
    case.put("y", y)
    case.backward(y, {"a": a, "b": b})


def normalize_input(case):
    c = case.case
    n, h, w, channels = c["x"]
    pixels = random_bytes(1, f"normalize-input/{c['name']}", c["x"])
    flip = (np.arange(n) % 2).astype(np.uint8)
    y = (pixels / 255.0 - np.array(c["mean"])) / np.array(c["std"])
    if c["flip"]:
        y = np.where(flip[:, None, None, None] != 0, y[:, :, ::-1], y)
    padded = np.zeros([n, h, w, c["channels"]])
    padded[..., :channels] = y
    case.put("x", pixels)
    case.put("flip", flip)
    case.put("y", padded)


def metrics(logits, labels, smoothing, scale):
    """(sum of losses · scale, top-1 count, top-5 count, images counted)."""
    counted = labels >= 0
    loss = F.cross_entropy(
        logits, labels.long(), ignore_index=-1, label_smoothing=smoothing, reduction="sum"
    )
    ranks = []
    for row, label in zip(logits.detach().numpy(), labels.numpy()):
        if label >= 0:
            ranks.append(int((row > row[label]).sum() + (row[:label] == row[label]).sum()))
    top = [sum(rank < k for rank in ranks) for k in (1, 5)]
    return loss * scale, [float(loss.detach()) * scale, *top, int(counted.sum())]


def loss(case):
    c = case.case
    n, classes = c["logits"]
    labels = (words(1, f"loss/{c['name']}/labels", n) % np.uint32(classes)).astype(np.int32)
    logits = uniform(1, f"loss/{c['name']}/logits", c["logits"]) * 2 * c["range"] - c["range"]
    # Half of the images are made right, so that the counts are not all zero.
    for i in range(0, n, 2):
        logits[i, labels[i]] = logits[i].max() + 0.5
    labels[c["ignored"]] = -1
    logits = case.give("logits", logits, low_precision=False)
    case.put("labels", labels)
    value, row = metrics(logits, torch.from_numpy(labels), c["smoothing"], c["scale"])
    case.put("metrics", np.array(row, np.float64))
    case.put("probabilities", F.softmax(logits, 1))
    case.put("dlogits", torch.autograd.grad(value, logits)[0])


# η falls and rises over the steps, so that the correction factor c = η_t/η_{t−1} matters.
SCHEDULE = [0.1, 0.15, 0.2, 0.02]


def sgd(case):
    c = case.case
    decay = np.concatenate([np.full(length, rate) for length, rate in c["segments"]])
    m = c["momentum"]
    w = case.draw("w", [len(decay)]).detach().numpy().copy()
    v = np.zeros_like(w)
    factors = [rate / SCHEDULE[max(i - 1, 0)] for i, rate in enumerate(SCHEDULE)]
    case.put("schedule", np.stack([SCHEDULE, factors], axis=1))
    gradients = case.draw("g", [len(SCHEDULE), len(decay)]).detach().numpy()
    history_w, history_v = [], []
    for i, rate in enumerate(SCHEDULE):
        g = gradients[i] + decay * w
        if c["form"] == "gradient":
            v = m * v + g
            w = w - rate * ((g + m * v) if c["nesterov"] else v)
        else:
            v = m * factors[i] * v + rate * g
            w = w - ((rate * g + m * v) if c["nesterov"] else v)
        history_w.append(w)
        history_v.append(v)
    case.put("new-w", np.stack(history_w))
    case.put("new-v", np.stack(history_v))
    if c["form"] == "gradient":
        check_sgd(c, decay, case, gradients, history_w[-1])


def check_sgd(c, decay, case, gradients, expected):
    """The gradient form is torch.optim.SGD's."""
    start = torch.from_numpy(case.out[f"{c['name']}/w"]).double()
    groups, at = [], 0
    for length, rate in c["segments"]:
        groups.append({"params": [start[at : at + length].clone()], "weight_decay": rate})
        at += length
    optimizer = torch.optim.SGD(groups, 0.1, momentum=c["momentum"], nesterov=bool(c["nesterov"]))
    for i, rate in enumerate(SCHEDULE):
        at = 0
        for group in optimizer.param_groups:
            (parameter,) = group["params"]
            group["lr"] = rate
            parameter.grad = torch.from_numpy(gradients[i, at : at + len(parameter)])
            at += len(parameter)
        optimizer.step()
    got = torch.cat([group["params"][0] for group in optimizer.param_groups]).numpy()
    assert np.abs(got - expected).max() < 1e-12


def norms(case):
    """Norms of tensors that lie one after the other, before and after PyTorch clips the gradient."""
    c = case.case
    count = sum(c["lengths"])
    w = case.draw("w", [count]).detach().split(c["lengths"])
    g = case.draw("g", [count]).detach().split(c["lengths"])

    def rows():
        finite = [[a.square().sum().item(), p.grad.square().sum().item(), 0] for a, p in zip(w, ps)]
        return np.array(finite)

    ps = [torch.nn.Parameter(tensor.clone()) for tensor in w]
    for parameter, grad in zip(ps, g):
        parameter.grad = grad.clone()
    case.put("norms", rows())
    torch.nn.utils.clip_grad_norm_(ps, c["limit"])
    case.put("clipped", torch.cat([parameter.grad for parameter in ps]))
    case.put("clipped-norms", rows())


def scaler_at(scale, good_steps, interval):
    """PyTorch's GradScaler in the middle of a run."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval)
    scaler.load_state_dict({**scaler.state_dict(), "_growth_tracker": good_steps})
    scaler.scale(torch.zeros(1))  # makes its tensors
    return scaler


def loss_scale(case):
    c = case.case
    count = sum(c["lengths"])
    w = case.draw("w", [count]).detach().split(c["lengths"])
    ps = [torch.nn.Parameter(tensor.float()) for tensor in w]
    for parameter, g in zip(ps, case.draw("g", [count]).detach().split(c["lengths"])):
        parameter.grad = g.float()
    before = c["scaling"]
    scaler = scaler_at(before["lossScale"], before["goodSteps"], c["interval"])
    optimizer = torch.optim.SGD(ps, 0.1)
    scaler.unscale_(optimizer)
    rows = [[a.square().sum().item(), p.grad.double().square().sum().item(), 0] for a, p in zip(w, ps)]
    scaler.step(optimizer)
    scaler.update()
    case.put("norms", np.array(rows))
    case.put("factor", np.array([1 / before["lossScale"]]))
    after = [scaler.get_scale(), scaler.state_dict()["_growth_tracker"], before["skipped"]]
    case.put("scaling", np.array(after, np.float64))


class Lars(torch.optim.Optimizer):
    """You et al. 2017, with the rate inside the velocity; `adapts` and `weight_decay` by group."""

    def __init__(self, groups, lr, momentum):
        super().__init__(groups, dict(lr=lr, momentum=momentum, weight_decay=0.0, adapts=True))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            decay = group["weight_decay"]
            for parameter in group["params"]:
                w, g, trust = parameter.norm(), parameter.grad.norm(), 1.0
                if group["adapts"] and w > 0 and g > 0:
                    trust = 0.001 * w / (g + decay * w)
                velocity = self.state[parameter].setdefault("v", torch.zeros_like(parameter))
                velocity.mul_(group["momentum"])
                velocity.add_(group["lr"] * trust * (parameter.grad + decay * parameter))
                parameter.sub_(velocity)


def lars(case):
    c = case.case
    lengths = [length for length, _, _ in c["tensors"]]
    scales = np.concatenate([np.full(length, scale) for length, _, scale in c["tensors"]])
    unit = case.draw("unit", [sum(lengths)]).detach().numpy()
    w = case.give("w", unit * scales).detach().split(lengths)
    gradients = case.draw("g", [len(SCHEDULE), sum(lengths)]).detach()
    case.put("schedule", np.stack([SCHEDULE, np.ones(len(SCHEDULE))], axis=1))
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in w]
    adapts = [role in ("convolution", "linear") for _, role, _ in c["tensors"]]
    groups = [
        dict(params=[p], adapts=a, weight_decay=c["decay"] if a else 0.0)
        for p, a in zip(parameters, adapts)
    ]
    optimizer = Lars(groups, 0.1, c["momentum"])
    history_w, history_v = [], []
    for rate, grads in zip(SCHEDULE, gradients):
        for group, grad in zip(optimizer.param_groups, grads.split(lengths)):
            group["lr"] = rate
            group["params"][0].grad = grad.clone()
        optimizer.step()
        history_w.append(torch.cat([p.detach().clone() for p in parameters]))
        history_v.append(torch.cat([optimizer.state[p]["v"] for p in parameters]))
    case.put("new-w", torch.stack(history_w))
    case.put("new-v", torch.stack(history_v))


def lerp(case):
    start, end = (case.draw(name, case.case["x"], low_precision=False) for name in ("start", "end"))
    case.put("y", torch.lerp(start, end, case.case["weight"]))


FAMILIES = {
    "conv": forward(conv),
    "batch-norm": batch_norm,
    "max-pool": max_pool,
    "batch-norm-max-pool": batch_norm_max_pool,
    "stem": forward(stem),
    "global-average-pool": forward(lambda c, x: x.mean((1, 2))),
    "relu": relu,
    "add": add,
    "normalize-input": normalize_input,
    "average-pool": forward(average_pool),
    "add-bias": forward(lambda c, x, b: x + b),
    "multiply": forward(lambda c, a, b: a * b[:, None, None]),
    "concatenate": forward(lambda c, a, b: torch.cat([a, b], 3)),
    "lerp": lerp,
    "sigmoid": forward(lambda c, x: torch.sigmoid(x)),
    "flatten": forward(lambda c, x: x.flatten(1)),
    "linear": forward(lambda c, x, w, b: F.linear(x, w, b)),
    "loss": loss,
    "sgd": sgd,
    "norms": norms,
    "loss-scale": loss_scale,
    "lars": lars,
}


def op_cases():
    """The rows of the op book by the names of FAMILIES."""
    return json.loads(subprocess.check_output(["node", "dist/proof/ops/rows.js"], cwd=ROOT))


def write_ops(families):
    cases = op_cases()
    assert cases.keys() == FAMILIES.keys(), (
        f"the op book and FAMILIES differ in {sorted(cases.keys() ^ FAMILIES.keys())}"
    )
    unknown = sorted(set(families) - FAMILIES.keys())
    if unknown:
        sys.exit(f"there is no op {', '.join(unknown)}; expected {', '.join(FAMILIES)}")
    for family in families:
        out = {}
        for case in cases[family]:
            FAMILIES[family](Case(family, case, out))
        save_file(out, FIXTURES / f"{family}.safetensors")


# --- Networks ---

# blocks a stage, filters of the first stage, expansion of a bottleneck (1: basic blocks).
MODELS = {
    "resnet8": dict(blocks=[1, 1, 1], width=16, expansion=1, image=(28, 28, 1), classes=10,
                    mean=[0.286], std=[0.353]),
    "resnet50": dict(blocks=[3, 4, 6, 3], width=64, expansion=4, image=(224, 224, 3), classes=1000,
                     mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
}  # fmt: skip
SEED = 1706


def small(name, shape):
    """The linear layer's weights: in [-0.02, 0.02), the paper's size."""
    return (2 * uniform(SEED, name, shape) - 1) * 0.02


class Network:
    """A residual network as a function of named tensors, under torchvision's names.

    Running it the first time, on one image, draws the parameters it meets. `init` says what batch
    norm starts from: "robust" has γ in [.2, .4] and β = ±2 by channel parity, so that rounding
    flips few ReLUs; "paper" has γ = 1, but 0 at the end of each block, and β = 0.
    """

    def __init__(self, name, init="robust", dtype=torch.float64):
        self.init, self.dtype = init, dtype
        self.__dict__.update(MODELS[name])
        self.parameters, self.statistics = {}, {}
        self.training = False
        with torch.no_grad():
            self(torch.zeros(1, self.image[2], *self.image[:2], dtype=dtype))
        self.training = True

    def parameter(self, name, shape, draw):
        if name not in self.parameters:
            value = draw(name, shape).astype(np.float32)
            self.parameters[name] = torch.from_numpy(value).to(self.dtype).requires_grad_()
        return self.parameters[name]

    def conv(self, x, name, filters, window, stride):
        bound = math.sqrt(6 / (filters * window * window))  # He, fan_out
        w = self.parameter(
            f"{name}.weight",
            (filters, x.shape[1], window, window),
            lambda n, s: (2 * uniform(SEED, n, s) - 1) * bound,
        )
        return F.conv2d(x, w, stride=stride, padding=window // 2)

    def bn(self, x, name, last=False):
        shape = (x.shape[1],)
        if self.init == "robust":
            scale = lambda n, s: 0.2 + 0.2 * uniform(SEED, n, s)
            shift = lambda n, s: 2.0 - 4.0 * (np.arange(s[0]) % 2)
        else:
            scale = lambda n, s: np.full(s, 0.0 if last else 1.0)
            shift = lambda n, s: np.zeros(s)
        gamma = self.parameter(f"{name}.weight", shape, scale)
        beta = self.parameter(f"{name}.bias", shape, shift)
        mean, variance = f"{name}.running_mean", f"{name}.running_var"
        if mean not in self.statistics:
            draws = uniform(SEED, mean, shape) - 0.5, 0.5 + uniform(SEED, variance, shape)
            for key, value in zip((mean, variance), draws):
                self.statistics[key] = torch.from_numpy(value.astype(np.float32)).to(self.dtype)
        running = self.statistics[mean], self.statistics[variance]
        return F.batch_norm(x, *running, gamma, beta, self.training, 0.1, 1e-5)

    def block(self, x, name, filters, stride):
        if self.expansion == 1:
            y = F.relu(self.bn(self.conv(x, f"{name}.conv1", filters, 3, stride), f"{name}.bn1"))
            y = self.bn(self.conv(y, f"{name}.conv2", filters, 3, 1), f"{name}.bn2", last=True)
        else:
            y = F.relu(self.bn(self.conv(x, f"{name}.conv1", filters, 1, 1), f"{name}.bn1"))
            y = F.relu(self.bn(self.conv(y, f"{name}.conv2", filters, 3, stride), f"{name}.bn2"))
            y = self.conv(y, f"{name}.conv3", filters * self.expansion, 1, 1)
            y = self.bn(y, f"{name}.bn3", last=True)
        if stride != 1 or x.shape[1] != y.shape[1]:
            x = self.conv(x, f"{name}.downsample.0", y.shape[1], 1, stride)
            x = self.bn(x, f"{name}.downsample.1")
        return F.relu(y + x)

    def __call__(self, x):
        if self.image[0] == 224:
            x = F.relu(self.bn(self.conv(x, "conv1", 64, 7, 2), "bn1"))
            x = F.max_pool2d(x, 3, 2, 1)
        else:
            x = F.relu(self.bn(self.conv(x, "conv1", 16, 3, 1), "bn1"))
        for stage, blocks in enumerate(self.blocks):
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                x = self.block(x, f"layer{stage + 1}.{i}", self.width << stage, stride)
        x = x.mean((2, 3))
        w = self.parameter("fc.weight", (self.classes, x.shape[1]), small)
        b = self.parameter("fc.bias", (self.classes,), small)
        return F.linear(x, w, b)

    def batch(self, index, n):
        """Images (normalised, some mirrored in training) and labels of batch `index`.

        A pixel is noise, and brighter on stripes whose slope depends on the label.
        """
        h, w, c = self.image
        labels = words(SEED, f"labels {index}", n) % np.uint32(self.classes)
        flips = words(SEED, f"flips {index}", n) % np.uint32(2)
        noise = random_bytes(SEED, f"images {index}", (n, h, w, c)) >> np.uint8(1)
        slope = labels.astype(np.int64)[:, None, None]
        stripes = (slope * np.arange(h)[:, None] + np.arange(w)) % 10 == 0
        pixels = noise + np.uint8(127) * stripes[..., None].astype(np.uint8)
        x = (pixels / 255.0 - np.array(self.mean)) / np.array(self.std)
        if self.training:
            x = np.where(flips[:, None, None, None] != 0, x[:, :, ::-1], x)
        return nchw(torch.from_numpy(x)).to(self.dtype), torch.from_numpy(labels.astype(np.int64))


def projections(name, value):
    """Eight sums of ±value: bit p of byte i, least significant first, is the sign of element i in
    projection p (0: plus). Their mean square estimates the square of the norm."""
    flat = value.detach().reshape(-1).numpy()
    signs = random_bytes(SEED, f"signs {name}", (flat.size,))
    return np.array([flat @ (1.0 - 2.0 * ((signs >> np.uint8(p)) & 1)) for p in range(8)])


def gradients(network, batch):
    x, labels = network.batch(0, batch)
    network.logits = network(x)
    value = F.cross_entropy(network.logits, labels)
    grads = torch.autograd.grad(value, list(network.parameters.values()))
    return value.item(), dict(zip(network.parameters, grads))


def write_resnet8():
    out = {}
    network = Network("resnet8")
    network.training = False
    x, labels = network.batch(100, 16)
    labels[[3, 15]] = -1
    with torch.no_grad():
        logits = network(x)
        out["evaluate/logits"] = logits
        out["evaluate/metrics"] = torch.tensor(metrics(logits, labels, 0.0, 1.0)[1])

    network = Network("resnet8")
    value, grads = gradients(network, 8)
    out["step/loss"] = torch.tensor([value])
    out.update({f"step/gradient/{name}": grad for name, grad in grads.items()})
    out.update({f"step/statistics/{name}": s for name, s in network.statistics.items()})

    for prefix, options in TRAININGS.items():
        losses, network, averages = train("resnet8", 10, 32, **options)
        out[f"{prefix}/losses"] = torch.tensor(losses)
        out.update({f"{prefix}/statistics/{name}": s for name, s in network.statistics.items()})
        for name, parameter in network.parameters.items():
            out[f"{prefix}/norm/{name}"] = parameter.norm().reshape(1)
            out[f"{prefix}/projections/{name}"] = torch.from_numpy(projections(name, parameter))
        if prefix != "train":
            continue
        for name, value in averages.items():
            out[f"ema/norm/{name}"] = value.norm().reshape(1)
            out[f"ema/projections/{name}"] = torch.from_numpy(projections(name, value))
    save(out, "resnet8")


def sgd_of(decayed, biases, others):
    groups = [
        {"params": decayed + biases, "weight_decay": 1e-4},
        {"params": others, "weight_decay": 0},
    ]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)


def lars_of(decayed, biases, others):
    groups = [
        {"params": decayed, "weight_decay": 1e-4, "adapts": True},
        {"params": biases + others, "weight_decay": 0, "adapts": False},
    ]
    return Lars(groups, lr=2.0, momentum=0.9)


# Ten steps of ResNet-8: the paper's SGD, with two micro-batches, with clipped gradients; and LARS.
TRAININGS = {
    "train": dict(),
    "accumulate": dict(accumulate=2),
    "clip": dict(clip=0.5),
    "lars": dict(optimizer_of=lars_of, accumulate=2, clip=2.0),
}


class Average:
    """PyTorch's exponential moving average of a network's parameters and statistics."""

    def __init__(self, network, decay):
        self.network = network
        self.model = self.held()
        ema = torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
        self.averaged = torch.optim.swa_utils.AveragedModel(
            self.model, multi_avg_fn=ema, use_buffers=True
        )

    def held(self):
        model = torch.nn.Module()
        for key, parameter in self.network.parameters.items():
            model.register_parameter(key.replace(".", "/"), torch.nn.Parameter(parameter.detach()))
        for key, statistic in self.network.statistics.items():
            model.register_buffer(key.replace(".", "/"), statistic.clone())
        return model

    def update(self):
        self.averaged.update_parameters(self.held())

    def named(self):
        state = self.averaged.module.state_dict()
        return {key.replace("/", "."): value for key, value in state.items()}


def train(name, steps, batch, accumulate=1, dtype=torch.float64, optimizer_of=sgd_of, clip=None, ema=0.9):
    """Two batches in turn, so that the loss falls. SGD: η = 0.1, Nesterov momentum 0.9, weight decay
    1e-4 on everything but batch norm. The running statistics of a step go on from those before it
    by the mean of the micro-batches' statistics. Third come the moving averages after the last step."""
    network = Network(name, "paper", dtype)
    decayed, biases, others = [], [], []
    for key, parameter in network.parameters.items():
        layer, kind = key.rsplit(".", 1)
        normalizes = layer + ".running_mean" in network.statistics
        (others if normalizes else biases if kind == "bias" else decayed).append(parameter)
    optimizer = optimizer_of(decayed, biases, others)
    average = None
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        before, updated, total = network.statistics, [], 0
        for micro in range(accumulate):
            network.statistics = {key: value.clone() for key, value in before.items()}
            x, labels = network.batch((step * accumulate + micro) % 2, batch)
            value = F.cross_entropy(network(x), labels) / accumulate
            value.backward()
            total += value.item()
            updated.append(network.statistics)
        network.statistics = {key: sum(u[key] for u in updated) / accumulate for key in before}
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters.values(), clip)
        optimizer.step()
        average = average or Average(network, ema)
        average.update()
        losses.append(total)
    return losses, network, average.named()


def write_grad_scaler():
    """Steps of SGD with GradScaler whose gradients overflow f16 where the scale is above 2^16."""
    shape = (16, 40)
    drawn = (2 * uniform(SEED, "grad-scaler", shape) - 1) * 0.9
    gradients = torch.from_numpy(drawn.astype(np.float32))
    w = torch.from_numpy(uniform(SEED, "grad-scaler/w", shape[1:]).astype(np.float32))
    parameter = torch.nn.Parameter(w.clone())
    optimizer = torch.optim.SGD([parameter], 0.1, 0.9, weight_decay=0.01, nesterov=True)
    scaler = scaler_at(2.0**20, 0, 3)
    rates = [SCHEDULE[step % len(SCHEDULE)] for step in range(shape[0])]
    history = {"w": [], "u": [], "scaling": []}
    skipped = 0
    for rate, g in zip(rates, gradients):
        optimizer.param_groups[0]["lr"] = rate
        scale = scaler.get_scale()
        parameter.grad = (g * scale).half().float()
        scaler.step(optimizer)
        scaler.update()
        skipped += scaler.get_scale() < scale
        momentum = optimizer.state[parameter].get("momentum_buffer", torch.zeros(shape[1:]))
        history["w"].append(parameter.detach().clone())
        history["u"].append(momentum.clone())
        good = scaler.state_dict()["_growth_tracker"]
        history["scaling"].append(torch.tensor([scaler.get_scale(), good, skipped]))
    assert 0 < skipped < shape[0]
    out = {name: torch.stack(values) for name, values in history.items()}
    save({**out, "start": w, "g": gradients, "rates": torch.tensor(rates)}, "grad-scaler")


# Rate at 256 images, minibatch, steps of warm-up and in all: those of test/schedules/schedule.test.ts.
RATES = dict(lr=0.1, minibatch=8192, warmup=40, steps=240)


def write_schedules():
    """PyTorch's rates of each step: a linear warm-up, then down to 0."""
    lr_scheduler = torch.optim.lr_scheduler
    peak = RATES["lr"] * RATES["minibatch"] / 256
    left = RATES["steps"] - RATES["warmup"]
    falls = {
        "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, left),
        "linear": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, left, 1),
        "polynomial": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, left, 2),
    }
    out = {}
    for name, fall in falls.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], peak)
        warmup = lr_scheduler.LinearLR(optimizer, RATES["lr"] / peak, 1, RATES["warmup"])
        both = [warmup, fall(optimizer)]
        schedule = lr_scheduler.SequentialLR(optimizer, both, [RATES["warmup"]])
        rates = []
        for _ in range(RATES["steps"]):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        out[name] = torch.tensor(rates)
    save(out, "schedules")


def write_resnet50():
    network = Network("resnet50")
    value, grads = gradients(network, 4)
    out = {"step/loss": torch.tensor([value])}
    for name, grad in grads.items():
        out[f"step/norm/{name}"] = grad.norm().reshape(1)
        out[f"step/projections/{name}"] = torch.from_numpy(projections(name, grad))
    for name, statistic in network.statistics.items():
        out[f"step/norm/{name}"] = statistic.norm().reshape(1)
        out[f"step/projections/{name}"] = torch.from_numpy(projections(name, statistic))
    save(out, "resnet50")


def save(tensors, name):
    arrays = {key: value.detach().numpy().astype(np.float32) for key, value in tensors.items()}
    contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    save_file(contiguous, FIXTURES / f"{name}.safetensors")


if __name__ == "__main__":
    check_generator()
    FIXTURES.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:]
    write_ops(wanted or FAMILIES)
    if not wanted:
        write_grad_scaler()
        write_schedules()
        write_resnet8()
        write_resnet50()

"""Times the parts of `synlabel bench` in PyTorch and prints JSON.

The iteration comes in two forms: `published` differentiates the generators in the discriminators' steps and throws the
gradients away, translates anew for each kind of discriminator, and runs with anomaly detection on; `lean` does none of
this and gives the same numbers. On a graphics card `--compile` has networks compiled, all but a time discriminator under
the R1 penalty, whose second derivative compiled networks do not have; `--precision bf16` is PyTorch's autocast.
"""

import argparse
import contextlib
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from networks import Generator, PatchDiscriminator, TimeDiscriminator, Translator, Unet

STEPS = 4
PRESETS = {
    "paper": dict(
        size=512, batch=1, translator=(64, 6), time=(64, 256), patch=(64, 3),
        generator=dict(width=64, multipliers=[1, 1, 2, 2, 4, 4], blocks=2, attention_at=[16], latent=100, style=256, mapping=3),
    ),
    "small": dict(
        size=32, batch=4, translator=(24, 4), time=(16, 64), patch=(24, 2),
        generator=dict(width=16, multipliers=[1, 2, 2], blocks=1, attention_at=[16], latent=32, style=64, mapping=2),
    ),
}


def schedule():
    """Weights of the forward pairs and of the posterior for T = 4."""
    grid = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64, device="cpu") * (1 - 1e-3) + 1e-3
    kept = torch.exp(-grid**2 / 2 * (20 - 0.1) - grid * 0.1)
    beta = torch.cat([torch.tensor([1e-8], dtype=torch.float64, device="cpu"), 1 - kept[1:] / kept[:-1]])
    signal = torch.cumprod(torch.sqrt(1 - beta), 0)
    beta_1 = beta[1:]
    bar = torch.cumprod(1 - beta_1, 0)
    before = torch.cat([torch.ones(1, dtype=torch.float64, device="cpu"), bar[:-1]])
    deviation = torch.sqrt((beta_1 * (1 - before) / (1 - bar)).clamp(min=1e-20))
    deviation[0] = 0.0
    table = dict(
        signal=signal, noise=torch.sqrt(1 - signal**2), step=torch.sqrt(1 - beta), step_noise=torch.sqrt(beta),
        clean=beta_1 * before.sqrt() / (1 - bar), noisy=(1 - before) * (1 - beta_1).sqrt() / (1 - bar), deviation=deviation,
    )
    return {name: values.to(torch.get_default_device(), torch.float32) for name, values in table.items()}


class SynDiff:
    def __init__(self, preset, size, batch, prepare):
        self.size, self.batch, self.latent = size, batch, preset["generator"]["latent"]
        self.generators = [Generator(size, **preset["generator"]) for _ in range(2)]
        self.translators = [Translator(*preset["translator"]) for _ in range(2)]
        self.time_critics = [TimeDiscriminator(size, *preset["time"]) for _ in range(2)]
        self.patch_critics = [PatchDiscriminator(*preset["patch"]) for _ in range(2)]
        makers = [p for n in self.generators + self.translators for p in n.parameters()]
        self.average = [p.detach().clone() for p in makers]
        self.makers = makers
        self.critics = [p for n in self.time_critics + self.patch_critics for p in n.parameters()]
        self.optimiser = torch.optim.Adam(makers, lr=1.6e-4, betas=(0.5, 0.9))
        self.critic_optimiser = torch.optim.Adam(self.critics, lr=1e-4, betas=(0.5, 0.9))
        # Compiled networks share their weights with the plain ones.
        self.plain_time_critics = self.time_critics
        self.generators, self.translators, self.time_critics, self.patch_critics = (
            [prepare(network) for network in networks]
            for networks in (self.generators, self.translators, self.time_critics, self.patch_critics)
        )
        self.tables, self.step = schedule(), 0
        self.images = [torch.rand(batch, 1, size, size) * 2 - 1 for _ in range(2)]

    def at(self, name, t):
        return self.tables[name][t][:, None, None, None]

    def pair(self, clean, t):
        x_t = self.at("signal", t) * clean + self.at("noise", t) * torch.randn_like(clean)
        return x_t, self.at("step", t + 1) * x_t + self.at("step_noise", t + 1) * torch.randn_like(clean)

    def sample(self, which, x_next, source, t):
        latent = torch.randn(self.batch, self.latent)
        clean = self.generators[which](torch.cat([x_next, source], dim=1), t.float(), latent)[:, :1]
        noise = self.at("deviation", t) * torch.randn_like(clean)
        return clean, self.at("clean", t) * clean + self.at("noisy", t) * x_next + noise

    def estimates(self):
        return [self.translators[i](self.images[1 - i]) for i in range(2)]

    def time_step(self, estimates):
        """The losses of the time discriminators, differentiated."""
        for i, critic in enumerate(self.time_critics):
            t = torch.randint(0, STEPS, (self.batch,))
            x_t, x_next = self.pair(self.images[i], t)
            regularised = self.step % 10 == 0
            x_t.requires_grad_(regularised)
            logits = (self.plain_time_critics[i] if regularised else critic)(x_t, t.float(), x_next)
            F.softplus(-logits).mean().backward(retain_graph=regularised)
            if regularised:
                (gradient,) = torch.autograd.grad(logits.sum(), x_t, create_graph=True)
                (gradient.square().flatten(1).sum(1).mean() / 2).backward()
            _, fake = self.sample(i, x_next, estimates[1 - i], t)
            F.softplus(critic(fake, t.float(), x_next)).mean().backward()

    def patch_step(self, estimates):
        """The losses of the patch discriminators, differentiated."""
        for i, critic in enumerate(self.patch_critics):
            F.softplus(-critic(self.images[i])).mean().backward()
            F.softplus(critic(estimates[i])).mean().backward()

    def generator_step(self):
        """The losses of generators and translators, differentiated."""
        estimates, loss = self.estimates(), 0.0
        for i in range(2):
            t = torch.randint(0, STEPS, (self.batch,))
            _, x_next = self.pair(self.images[i], t)
            clean, fake = self.sample(i, x_next, estimates[1 - i], t)
            loss = loss + F.softplus(-self.time_critics[i](fake, t.float(), x_next)).mean()
            loss = loss + F.softplus(-self.patch_critics[i](estimates[i])).mean()
            cycled = self.translators[i](estimates[1 - i])
            loss = loss + 0.5 * F.l1_loss(cycled, self.images[i]) + 0.5 * F.l1_loss(clean, self.images[i])
        loss.backward()

    def iterate(self, form):
        published = form == "published"
        torch.autograd.set_detect_anomaly(published)
        for parameter in self.critics:
            parameter.requires_grad_(True)
        self.critic_optimiser.zero_grad(set_to_none=True)
        if published:
            self.time_step(self.estimates())
            self.patch_step(self.estimates())
        else:
            with torch.no_grad():
                estimates = self.estimates()
            generators = [p for n in self.generators for p in n.parameters()]
            for parameter in generators:
                parameter.requires_grad_(False)
            self.time_step(estimates)
            self.patch_step(estimates)
            for parameter in generators:
                parameter.requires_grad_(True)
        self.critic_optimiser.step()
        for parameter in self.critics:
            parameter.requires_grad_(False)
        self.optimiser.zero_grad(set_to_none=True)
        self.generator_step()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_mul_(self.average, 0.999)
            torch._foreach_add_(self.average, self.makers, alpha=0.001)
        torch.autograd.set_detect_anomaly(False)
        self.step += 1


def segmenter(size):
    stages = (size // 4).bit_length()
    return Unet(4, [min(32 << stage, 512) for stage in range(stages)])


def segmentation_step(network, prepare, size):
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    levels = len(network.heads)
    run = prepare(network)
    image = torch.randn(2, 1, size, size)
    truth = torch.arange(size * size).remainder(4).view(1, size, size).expand(2, -1, -1)
    weights = [0.5**i if i + 1 < levels else 0.0 for i in range(levels)]
    weights = [weight / sum(weights) for weight in weights]

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for i, (logits, weight) in enumerate(zip(run(image), weights)):
            if weight == 0.0:
                continue
            labels = truth[:, (1 << i) // 2 :: 1 << i, (1 << i) // 2 :: 1 << i]
            likelihood = torch.softmax(logits, 1)
            hot = F.one_hot(labels, 4).permute(0, 3, 1, 2).float()
            shared = (likelihood * hot).sum((0, 2, 3))[1:]
            dice = (2 * shared + 1e-5) / ((likelihood.sum((0, 2, 3)) + hot.sum((0, 2, 3)))[1:] + 1e-5)
            loss = loss + weight * (F.cross_entropy(logits, labels) - dice.mean())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimiser.step()
        return loss.item()

    return step


class Operations(TorchDispatchMode):
    """Counts floating-point operations, two for each product and sum (PyTorch's own counter cannot with `autograd.grad`), and
    the bytes that go in and out of all operations, each of which reads its inputs and writes its outputs once."""

    count = 0
    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if formula := flop_registry.get(function._overloadpacket):
            self.count += formula(*args, **(kwargs or {}), out_val=output)
        tensors = [[x for x in tree_leaves(values) if isinstance(x, torch.Tensor)] for values in ((args, kwargs), output)]
        places = [{x.untyped_storage().data_ptr() for x in side} for side in tensors]
        # A view moves nothing; what changes in place does.
        if function._schema.is_mutable or not places[1] <= places[0]:
            self.bytes += sum(x.numel() * x.element_size() for side in tensors for x in side)
        return output


def works(part, preset, size, batch, prepare):
    """What is timed; `prepare` makes a network ready."""
    if part.startswith("iteration"):
        model = SynDiff(preset, size, batch, prepare)
        return lambda: model.iterate(part.split("-")[1])
    if part == "generator":
        model = prepare(Generator(size, **preset["generator"]).eval())
        image, latent = torch.randn(batch, 2, size, size), torch.randn(batch, preset["generator"]["latent"])
        return lambda: model(image, torch.ones(batch), latent)
    network = segmenter(size)
    if part == "segmentation-step":
        return segmentation_step(network, prepare, size)
    image = torch.randn(2, 1, size, size)
    network.forward = network.predict
    network = prepare(network)
    return lambda: network(image)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["iteration-published", "iteration-lean", "generator", "segmentation-step", "segmentation-prediction"])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--compile", action="store_true", help="compile the networks")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--operations", action="store_true", help="count the floating-point operations of matrix products and convolutions and the bytes of all operations, and time nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    preset = PRESETS[options.preset]
    size, batch = options.size or preset["size"], options.batch or preset["batch"]
    torch.set_default_device(options.device)
    on_card = options.device != "cpu"
    work = works(options.part, preset, size, batch, torch.compile if options.compile else lambda network: network)
    if options.operations:
        # As in timing, the first iteration does not count: it alone has the R1 penalty.
        work()
        with Operations() as operations:
            work()
        print(json.dumps(dict(part=options.part, operations=operations.count, bytes=operations.bytes)))
        return
    trains = options.part.startswith("iteration") or options.part == "segmentation-step"
    seconds = []
    # As in synlabel, segmentation stays in 32 bits.
    half = options.precision == "bf16" and not options.part.startswith("segmentation")
    with torch.set_grad_enabled(trains):
        for round in range(options.rounds + 1):
            began = time.perf_counter()
            # Autocast keeps weights that it has converted until it ends, so each round has its own.
            with torch.autocast(options.device, torch.bfloat16) if half else contextlib.nullcontext():
                work()
            if on_card:
                torch.cuda.synchronize()
            if round > 0:
                seconds.append(time.perf_counter() - began)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figure = dict(part=options.part, seconds=seconds, median_seconds=statistics.median(seconds), peak_bytes=peak)
    print(json.dumps(figure | dict(card_bytes=torch.cuda.max_memory_reserved() if on_card else None)))


if __name__ == "__main__":
    main()

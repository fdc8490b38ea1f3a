"""The networks of SynDiff and of segmentation in plain PyTorch, for comparisons of speed only.

Written from the descriptions in the papers (SynDiff arXiv 2207.08208, NCSN++ 2011.13456, DDGAN 2112.07804, CycleGAN
1703.10593, nnU-Net 10.1038/s41592-020-01008-z). Weights are drawn; nothing here is for training a model.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

SQRT_2 = math.sqrt(2.0)


def taps(device_of):
    """The two-dimensional low-pass filter [1, 3, 3, 1] x [1, 3, 3, 1] / 64."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], device=device_of.device)
    return torch.outer(line, line) / 64.0


def depthwise(x, kernel):
    channels = x.shape[1]
    return F.conv2d(x, kernel.expand(channels, 1, 4, 4), groups=channels)


def fir_down(x):
    channels = x.shape[1]
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), taps(x).expand(channels, 1, 4, 4), stride=2, groups=channels)


def fir_up(x):
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, height, 2, width, 2)
    spread[:, :, :, 0, :, 0] = x
    spread = spread.reshape(batch, channels, 2 * height, 2 * width)
    return depthwise(F.pad(spread, (2, 1, 2, 1)), 4.0 * taps(x))


def sinusoids(time, width):
    half = width // 2
    frequency = torch.exp(-torch.arange(half, device=time.device) * math.log(10000.0) / (half - 1))
    angle = time[:, None] * frequency[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def group_norm(channels, affine):
    return nn.GroupNorm(max(1, min(channels // 4, 32)), channels, eps=1e-6, affine=affine)


class AdaptiveNorm(nn.Module):
    def __init__(self, channels, style):
        super().__init__()
        self.norm = group_norm(channels, False)
        self.style = nn.Linear(style, 2 * channels)

    def forward(self, x, style):
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        return scale * self.norm(x) + shift


class Residual(nn.Module):
    def __init__(self, inputs, outputs, time, style, resample=None):
        super().__init__()
        self.norm_in, self.norm_out = AdaptiveNorm(inputs, style), AdaptiveNorm(outputs, style)
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(time, outputs)
        self.resample = resample
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or resample else None

    def forward(self, x, time, style):
        h = F.silu(self.norm_in(x, style))
        if self.resample:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_in(h) + self.time(F.silu(time))[:, :, None, None]
        h = self.conv_out(F.silu(self.norm_out(h, style)))
        return ((self.skip(x) if self.skip else x) + h) / SQRT_2


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = group_norm(channels, True)
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x):
        batch, channels, height, width = x.shape
        h = self.norm(x).flatten(2).transpose(1, 2)
        weights = torch.softmax(self.query(h) @ self.key(h).transpose(1, 2) / math.sqrt(channels), dim=-1)
        h = self.out(weights @ self.value(h))
        return (x + h.transpose(1, 2).reshape(batch, channels, height, width)) / SQRT_2


class Generator(nn.Module):
    """NCSN++ with adaptive group norm."""

    def __init__(self, crop, width, multipliers, blocks, attention_at, latent, style, mapping):
        super().__init__()
        time = 4 * width
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        sizes = [latent] + [style] * (mapping + 1)
        self.mapping = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        levels, channels, pyramid, skips = len(multipliers), width, 2, [width]
        self.encoder, self.downs, self.pyramids = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()

        def attention(level, channels):
            return Attention(channels) if crop >> level in attention_at else None

        for level, multiplier in enumerate(multipliers):
            stage = nn.ModuleList()
            for _ in range(blocks):
                block = Residual(channels, multiplier * width, time, style)
                channels = multiplier * width
                stage.append(nn.ModuleList([block, attention(level, channels) or nn.Identity()]))
                skips.append(channels)
            self.encoder.append(stage)
            if level + 1 < levels:
                self.downs.append(Residual(channels, channels, time, style, fir_down))
                self.pyramids.append(nn.Conv2d(pyramid, channels, 3, stride=2))
                pyramid = channels
                skips.append(channels)
        self.middle = nn.ModuleList(
            [Residual(channels, channels, time, style), Attention(channels), Residual(channels, channels, time, style)]
        )
        self.decoder, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels)):
            stage = nn.ModuleList()
            for _ in range(blocks + 1):
                stage.append(Residual(channels + skips.pop(), multipliers[level] * width, time, style))
                channels = multipliers[level] * width
            self.decoder.append(nn.ModuleList([stage, attention(level, channels) or nn.Identity()]))
            if level > 0:
                self.ups.append(Residual(channels, channels, time, style, fir_up))
        self.norm_out, self.conv_out = group_norm(channels, True), nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, x, time, latent):
        time = self.time(sinusoids(time, self.width))
        style = latent / torch.sqrt(latent.square().mean(1, keepdim=True) + 1e-8)
        for linear in self.mapping:
            style = F.silu(linear(style))
        h, pyramid = self.stem(x), x
        skips = [h]
        for level, stage in enumerate(self.encoder):
            for block, attention in stage:
                h = attention(block(h, time, style))
                skips.append(h)
            if level < len(self.downs):
                h = self.downs[level](h, time, style)
                blurred = depthwise(F.pad(pyramid, (2, 2, 2, 2)), taps(pyramid))
                pyramid = (self.pyramids[level](blurred) + h) / SQRT_2
                h = pyramid
                skips.append(h)
        first, attention, second = self.middle
        h = second(attention(first(h, time, style)), time, style)
        for level, (stage, attention) in enumerate(self.decoder):
            for block in stage:
                h = block(torch.cat([h, skips.pop()], dim=1), time, style)
            h = attention(h)
            if level < len(self.ups):
                h = self.ups[level](h, time, style)
        return torch.tanh(self.conv_out(F.silu(self.norm_out(h))))


class DownBlock(nn.Module):
    def __init__(self, inputs, outputs, time, halve):
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_out = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.time = nn.Linear(time, outputs)
        self.halve = halve

    def forward(self, x, time):
        h = self.conv_in(F.leaky_relu(x, 0.2)) + self.time(time)[:, :, None, None]
        h = F.leaky_relu(h, 0.2)
        if self.halve:
            h, x = fir_down(h), fir_down(x)
        return (self.conv_out(h) + self.skip(x)) / SQRT_2


class TimeDiscriminator(nn.Module):
    def __init__(self, crop, width, time):
        super().__init__()
        small = crop < 64
        widths = [2, 4, 8, 8] if small else [4, 8, 8, 8, 8, 8]
        self.time_width = time
        self.time = nn.Sequential(nn.Linear(time, time), nn.LeakyReLU(0.2), nn.Linear(time, time), nn.LeakyReLU(0.2))
        channels = 2 * width
        self.stem = nn.Conv2d(2, channels, 1)
        self.blocks = nn.ModuleList()
        for i, factor in enumerate(widths):
            self.blocks.append(DownBlock(channels, factor * width, time, not small or i > 0))
            channels = factor * width
        self.last = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.head = nn.Linear(channels, 1)

    def forward(self, x_t, step, x_next):
        time = self.time(sinusoids(step, self.time_width))
        h = self.stem(torch.cat([x_t, x_next], dim=1))
        for block in self.blocks:
            h = block(h, time)
        batch, channels, height, width = h.shape
        group = min(batch, 4)
        grouped = h.view(group, batch // group, channels * height * width)
        deviation = torch.sqrt(grouped.var(0, unbiased=False) + 1e-8).mean(1)
        deviation = deviation.repeat(group)[:, None, None, None].expand(batch, 1, height, width)
        h = F.leaky_relu(self.last(torch.cat([h, deviation], dim=1)), 0.2)
        return self.head(h.sum((2, 3)))[:, 0]


class Translator(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()

        def norm(channels):
            return nn.InstanceNorm2d(channels)

        inner = 4 * width
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(1, width, 7), norm(width), nn.ReLU()]
        for channels in (width, 2 * width):
            layers += [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), norm(2 * channels), nn.ReLU()]
        self.head = nn.Sequential(*layers)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReflectionPad2d(1), nn.Conv2d(inner, inner, 3), norm(inner), nn.ReLU(),
                nn.ReflectionPad2d(1), nn.Conv2d(inner, inner, 3), norm(inner),
            )
            for _ in range(blocks)
        )
        layers = []
        for channels in (inner, 2 * width):
            layers.append(nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1))
            layers += [norm(channels // 2), nn.ReLU()]
        self.tail = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 1, 7), nn.Tanh())

    def forward(self, x):
        x = self.head(x)
        for block in self.blocks:
            x = x + block(x)
        return self.tail(x)


class PatchDiscriminator(nn.Sequential):
    def __init__(self, width, halvings):
        layers = [nn.Conv2d(1, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i in range(halvings):
            channels = width << i
            layers.append(nn.Conv2d(channels, 2 * channels, 4, stride=2 if i < halvings - 1 else 1, padding=1))
            layers += [nn.InstanceNorm2d(2 * channels), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(width << halvings, 1, 4, padding=1))


class Unet(nn.Module):
    """nnU-Net's plain U-Net; `forward` gives the logits of every level, the finest first."""

    def __init__(self, classes, features):
        super().__init__()

        def conv(inputs, outputs, stride=1):
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
                nn.InstanceNorm2d(outputs, affine=True),
                nn.LeakyReLU(0.01),
            )

        sizes = [1] + features
        self.encoder = nn.ModuleList(
            nn.Sequential(conv(a, b, 1 if i == 0 else 2), conv(b, b)) for i, (a, b) in enumerate(zip(sizes, sizes[1:]))
        )
        fine = list(reversed(features[:-1]))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in zip(reversed(features), fine))
        self.decoder = nn.ModuleList(nn.Sequential(conv(2 * b, b), conv(b, b)) for b in fine)
        self.heads = nn.ModuleList(nn.Conv2d(b, classes, 1) for b in fine)

    def levels(self, x):
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, convs in zip(self.ups, self.decoder):
            x = convs(torch.cat([up(x), skips.pop()], dim=1))
            yield x

    def forward(self, x):
        return [head(level) for head, level in zip(self.heads, self.levels(x))][::-1]

    def predict(self, x):
        *_, finest = self.levels(x)
        return self.heads[-1](finest)

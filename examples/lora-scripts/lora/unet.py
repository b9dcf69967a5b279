"""A small denoising U-Net with the parts and names of the large ones, and LoRA adapters for it."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .data import VOCABULARY, WORDS

PATCH = 4  # pixels per latent position, where Stable Diffusion has its VAE
WIDTHS = (32, 64)
TEXT = 64


class Norm(nn.GroupNorm):
    """Stays in float32 with mixed precision, where sums over thousands of positions would lose too much."""

    def forward(self, x):
        return super().forward(x.float())


class ResnetBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = Norm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(TEXT, outputs)
        self.norm2, self.conv2 = Norm(8, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, time):
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """From image positions to caption words, so the cost grows with the image and not with its square."""

    def __init__(self, width):
        super().__init__()
        self.norm = Norm(8, width)
        self.to_q, self.to_out = nn.Linear(width, width), nn.Linear(width, width)
        self.to_k, self.to_v = nn.Linear(TEXT, width), nn.Linear(TEXT, width)

    def forward(self, x, text):
        positions = self.norm(x).flatten(2).transpose(1, 2)
        scores = self.to_q(positions) @ self.to_k(text).transpose(1, 2) / math.sqrt(x.shape[1])
        mixed = self.to_out(scores.softmax(-1) @ self.to_v(text))
        return x + mixed.transpose(1, 2).reshape(x.shape)


class Stage(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(inputs, outputs)])
        self.attentions = nn.ModuleList([Attention(outputs)])

    def forward(self, x, time, text):
        for resnet, attention in zip(self.resnets, self.attentions):
            x = attention(resnet(x, time), text)
        return x


class UNet(nn.Module):
    """Predicts the noise in `x` at `steps` (0..999), told by the caption's tokens what is in the image."""

    def __init__(self):
        super().__init__()
        channels, (thin, wide) = 3 * PATCH * PATCH, WIDTHS
        self.token_embedding = nn.Embedding(VOCABULARY, TEXT)
        self.position_embedding = nn.Embedding(WORDS, TEXT)
        self.time_embedding = nn.ModuleDict({"linear_1": nn.Linear(TEXT, TEXT), "linear_2": nn.Linear(TEXT, TEXT)})
        self.conv_in = nn.Conv2d(channels, thin, 3, padding=1)
        self.down_blocks = nn.ModuleList([Stage(thin, thin), Stage(thin, wide)])
        self.mid_block = Stage(wide, wide)
        self.up_blocks = nn.ModuleList([Stage(wide + wide, wide), Stage(wide + thin, thin)])
        self.conv_norm_out = Norm(8, thin)
        self.conv_out = nn.Conv2d(thin, channels, 3, padding=1)

    def forward(self, x, steps, tokens):
        angles = steps[:, None] * torch.exp(torch.arange(TEXT // 2, device=x.device) * (-math.log(1e4) * 2 / TEXT))
        time = self.time_embedding["linear_1"](torch.cat([angles.sin(), angles.cos()], 1))
        time = self.time_embedding["linear_2"](F.silu(time))
        text = self.token_embedding(tokens) + self.position_embedding.weight
        noisy = x  # mostly noise, so the best first guess of it: the layers only learn what to take away
        first = self.down_blocks[0](self.conv_in(F.pixel_unshuffle(noisy, PATCH)), time, text)
        second = self.down_blocks[1](F.avg_pool2d(first, 2), time, text)
        x = self.mid_block(F.avg_pool2d(second, 2), time, text)
        x = self.up_blocks[0](torch.cat([F.interpolate(x, scale_factor=2.0), second], 1), time, text)
        x = self.up_blocks[1](torch.cat([F.interpolate(x, scale_factor=2.0), first], 1), time, text)
        return noisy + F.pixel_shuffle(self.conv_out(F.silu(self.conv_norm_out(x))), PATCH)


class Adapter(nn.Module):
    """A frozen layer plus `up(down(x)) * alpha / rank`. Up starts at zero: the first step sees the base model."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base, self.scale = base, alpha / rank
        if isinstance(base, nn.Conv2d):
            self.lora_down = nn.Conv2d(base.in_channels, rank, base.kernel_size, base.stride, base.padding, bias=False)
            self.lora_up = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        else:
            self.lora_down = nn.Linear(base.in_features, rank, bias=False)
            self.lora_up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_up.weight)
        self.register_buffer("alpha", torch.tensor(float(alpha)))

    def forward(self, x):
        return self.base(x) + self.lora_up(self.lora_down(x)) * self.scale


def adapt(model, rank, conv_rank, alpha):
    """Freezes the model and puts an adapter on every linear and, with a conv rank, every convolutional layer."""
    model.requires_grad_(False)
    ranks = {nn.Linear: rank, nn.Conv2d: conv_rank}
    adapters = {}
    for name, layer in list(model.named_modules()):
        own = ranks.get(type(layer))
        if own:
            parent, _, attribute = name.rpartition(".")
            # The same strength for both kinds: alpha keeps its ratio to the rank.
            adapters[name] = Adapter(layer, own, alpha * own / rank)
            owner = model.get_submodule(parent)
            if isinstance(owner, nn.ModuleDict):
                owner[attribute] = adapters[name]
            else:
                setattr(owner, attribute, adapters[name])
    return adapters

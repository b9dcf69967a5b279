"""Starts a script of sd-scripts with models as small as the mocks: the widths are constants there."""
import os
import runpy
import sys

script = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(script))
model = os.path.join(os.path.dirname(os.path.abspath(__file__)), "model")
name = os.path.basename(script)


def stable_diffusion():
    from library import original_unet

    original_unet.BLOCK_OUT_CHANNELS = (16, 16, 16, 16)
    original_unet.TIMESTEP_INPUT_DIM = 16
    original_unet.TIME_EMBED_DIM = 64
    original_unet.NORM_GROUPS = original_unet.TRANSFORMER_NORM_NUM_GROUPS = 8


def stable_diffusion_xl():
    import torch
    from library import sdxl_original_unet as unet

    unet.MODEL_CHANNELS, unet.TIME_EMBED_DIM, unet.ADM_IN_CHANNELS, unet.CONTEXT_DIM = 8, 32, 1552, 48
    # The numbers of groups and heads follow from the widths, and would be larger than these.
    norm, transformer = torch.nn.GroupNorm.__init__, unet.Transformer2DModel.__init__

    def narrow_norm(self, num_groups, num_channels, *more, **named):
        norm(self, min(num_groups, 8), num_channels, *more, **named)

    def narrow_transformer(self, *more, in_channels, num_attention_heads, attention_head_dim, cross_attention_dim, **named):
        heads = {"num_attention_heads": in_channels // 4, "attention_head_dim": 4, "cross_attention_dim": 48}
        transformer(self, *more, in_channels=in_channels, **heads, **named)

    torch.nn.GroupNorm.__init__ = narrow_norm
    unet.Transformer2DModel.__init__ = narrow_transformer


def text_config(part):
    from transformers import CLIPTextConfig

    return CLIPTextConfig.from_pretrained(model, subfolder=part)


def flux():
    from dataclasses import replace

    from library import flux_models, flux_utils
    from transformers import T5Config

    sizes = {"vec_in_dim": 32, "context_in_dim": 64, "hidden_size": 64, "num_heads": 4, "axes_dim": [4, 6, 6]}
    for known, config in flux_models.configs.items():
        autoencoder = replace(config.ae_params, ch=32, ch_mult=[1, 1, 1, 1], num_res_blocks=1)
        flux_models.configs[known] = replace(config, params=replace(config.params, **sizes), ae_params=autoencoder)
    flux_utils.CLIPConfig = lambda **_: text_config("text_encoder")
    flux_utils.T5Config = lambda **_: T5Config.from_pretrained(model, subfolder="text_encoder_2")
    # The mock's autoencoder has the names of diffusers. A new one is as random.
    autoencoder = flux_models.configs[flux_utils.MODEL_NAME_DEV].ae_params
    flux_utils.load_ae = lambda _, dtype, *more, **named: flux_models.AutoEncoder(autoencoder).to(dtype)


def stable_diffusion_3():
    from library import sd3_models, sd3_utils
    from transformers import T5Config, T5EncoderModel

    # The mock has the names of diffusers, and the width of T5 is a constant here. New parts are as random.
    sd3_utils.CLIPTextConfig = lambda hidden_size, **_: text_config("text_encoder" if hidden_size < 1000 else "text_encoder_2")

    def load_mmdit(state_dict, dtype, device, attn_mode="torch"):
        sizes = sd3_models.SD3Params(2, 2, 96 * 96, 96, 48, None, [], 4096, 128, "sd3m")
        mmdit = sd3_models.create_sd3_mmdit(sizes, attn_mode)
        # Outputs that begin with 0 would leave everything before them without a gradient.
        mmdit.initialize_weights = lambda: None
        return mmdit.to(dtype)

    def load_t5xxl(path, dtype, *more, **named):
        return T5EncoderModel(T5Config(vocab_size=512, d_model=4096, d_kv=16, d_ff=64, num_layers=1, num_heads=4)).to(dtype)

    def load_vae(path, dtype, *more, **named):
        vae = sd3_models.SDVAE(dtype)
        vae.encoder = sd3_models.VAEEncoder(ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1, dtype=dtype)
        return vae

    sd3_utils.load_mmdit, sd3_utils.load_t5xxl, sd3_utils.load_vae = load_mmdit, load_t5xxl, load_vae


starts = {"sdxl": stable_diffusion_xl, "flux": flux, "sd3": stable_diffusion_3}
starts.get(name.split("_")[0], stable_diffusion)()
runpy.run_path(script, run_name="__main__")

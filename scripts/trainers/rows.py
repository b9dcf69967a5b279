"""The rows of the table: which trainer trains which family of models, and with which config or command.

A config is one that a team could have. `smoke derive` makes a smoke job of it, as the service does. The scripts of
diffusers, trl and peft have no configs; they get the mocks of `smoke mock` on their command line.
"""
from collections import namedtuple

# environment: the Python to use; source: the repository that the command runs in, or None for an installed package.
Row = namedtuple("Row", "trainer environment source family adapter config text command")


def derived(trainer, environment, source, family, adapter, config, text, command=None):
    return Row(trainer, environment, source, family, adapter, config, text, command)


def direct(trainer, source, family, adapter, command):
    return Row(trainer, "base", source, family, adapter, None, None, command)


IMAGE = ["stable-diffusion", "sdxl", "sd3", "flux", "qwen-image", "wan"]
TEXT = {
    "llama": "meta-llama/Llama-3.2-1B",
    "mistral": "mistralai/Mistral-7B-v0.3",
    "qwen2": "Qwen/Qwen2.5-0.5B",
    "qwen3": "Qwen/Qwen3-0.6B",
    "gemma2": "google/gemma-2-2b",
    "gemma3": "google/gemma-3-1b-it",
}
TEMPLATES = {"llama": "llama3", "mistral": "mistral", "qwen2": "qwen", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma"}


def peft():
    for family in [*IMAGE, *TEXT]:
        command = "python $HERE/peft_alone.py $MODEL lora,dora,lokr,loha $OUTPUT"
        yield direct("peft", None, family, "LoRA, DoRA, LoKr, LoHa", command)


def diffusers():
    prompted = "--instance_data_dir $PICTURES --instance_prompt smoke"
    listed = "--train_data_dir $IMAGES --caption_column text"
    usual = "--pretrained_model_name_or_path $MODEL --output_dir $OUTPUT --resolution 128 --train_batch_size 1 \
--max_train_steps 3 --rank 4 --mixed_precision no --seed 1 --learning_rate 1e-3"
    for script, family, more in [
        ("text_to_image/train_text_to_image_lora.py", "stable-diffusion", listed),
        ("text_to_image/train_text_to_image_lora_sdxl.py", "sdxl", listed),
        ("dreambooth/train_dreambooth_lora_sd3.py", "sd3", prompted),
        ("dreambooth/train_dreambooth_lora_flux.py", "flux", prompted),
        ("dreambooth/train_dreambooth_lora_qwen_image.py", "qwen-image", prompted),
    ]:
        yield direct("diffusers", "diffusers", family, "LoRA", f"python examples/{script} {usual} {more}")


def trl():
    for family in TEXT:
        command = "trl sft --model_name_or_path $MODEL --dataset_name $TEXTS --use_peft --lora_r 4 --max_steps 3 \
--logging_steps 1 --report_to none --use_cpu --bf16 False --per_device_train_batch_size 1 --max_length 256 \
--learning_rate 1e-3 --lora_target_modules q_proj v_proj --output_dir $OUTPUT"
        yield direct("trl", None, family, "LoRA", command)


def llama_factory():
    for family, base in TEXT.items():
        for adapter in ["LoRA", "DoRA"] if family == "qwen3" else ["LoRA"]:
            text = f"""\
model_name_or_path: {base}
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 16
use_dora: {str(adapter == "DoRA").lower()}
dataset: our_chats
template: {TEMPLATES[family]}
cutoff_len: 2048
output_dir: saves/{family}
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
bf16: true
"""
            yield derived("LLaMA-Factory", "llamafactory", None, family, adapter, "train.yaml", text)


def axolotl():
    for family, base in TEXT.items():
        for adapter in ["LoRA", "DoRA"] if family == "llama" else ["LoRA"]:
            text = f"""\
base_model: {base}
datasets:
  - path: our/chats
    type: alpaca
adapter: lora
peft_use_dora: {str(adapter == "DoRA").lower()}
lora_r: 16
lora_alpha: 32
lora_target_modules: [q_proj, v_proj, gate_proj]
sequence_len: 2048
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 2
optimizer: adamw_bnb_8bit
learning_rate: 0.0002
bf16: auto
output_dir: ./out
"""
            yield derived("axolotl", "axolotl", None, family, adapter, "train.yaml", text)


def simpletuner():
    names = {"stable-diffusion": "sd1x", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "qwen-image": "qwen_image", "wan": "wan"}
    for family, name in names.items():
        text = f"""\
{{
  "model_family": "{name}", "model_type": "lora", "lora_type": "standard", "lora_rank": 16,
  "pretrained_model_name_or_path": "our/model", "data_backend_config": "config/backends.json",
  "output_dir": "output", "learning_rate": 1e-4, "lr_scheduler": "constant", "optimizer": "adamw_bf16",
  "max_train_steps": 1000, "train_batch_size": 2, "mixed_precision": "bf16", "resolution": 1024,
  "report_to": "tensorboard", "seed": 42, "gradient_checkpointing": true
}}
"""
        yield derived("SimpleTuner", "simpletuner", None, family, "LoRA", "config.json", text)


def ai_toolkit():
    names = {"stable-diffusion": "sd1", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "qwen-image": "qwen_image", "wan": "wan21:1b"}
    for family, name in names.items():
        for adapter in ["LoRA", "LoKr"] if family == "flux" else ["LoRA"]:
            text = f"""\
job: extension
config:
  name: ink
  process:
    - type: sd_trainer
      training_folder: output
      device: cuda:0
      network: {{type: {adapter.lower()}, linear: 16, linear_alpha: 16}}
      save: {{dtype: float16, save_every: 250, max_step_saves_to_keep: 4}}
      datasets:
        - {{folder_path: /data/ink, caption_ext: txt, resolution: [512, 768], cache_latents_to_disk: true}}
      train:
        batch_size: 1
        steps: 2000
        lr: 1e-4
        train_unet: true
        train_text_encoder: false
        gradient_checkpointing: true
        noise_scheduler: {"ddpm" if family in ("stable-diffusion", "sdxl") else "flowmatch"}
        optimizer: adamw8bit
        dtype: bf16
      model: {{name_or_path: our/model, arch: "{name}", quantize: true}}
meta: {{name: "[name]", version: "1.0"}}
"""
            yield derived("ai-toolkit", "ai-toolkit", "ai-toolkit", family, adapter, "train.yaml", text)


def onetrainer():
    names = {
        "stable-diffusion": "STABLE_DIFFUSION_15",
        "sdxl": "STABLE_DIFFUSION_XL_10_BASE",
        "sd3": "STABLE_DIFFUSION_3",
        "flux": "FLUX_DEV_1",
        "qwen-image": "QWEN",
    }
    for family, name in names.items():
        text = f"""\
{{
  "__version": 11, "training_method": "LORA", "model_type": "{name}", "base_model_name": "our/model",
  "concept_file_name": "training_concepts/concepts.json", "learning_rate": 0.0003, "epochs": 100, "batch_size": 4,
  "resolution": "512", "lora_rank": 16, "output_model_destination": "models/lora.safetensors",
  "output_model_format": "DIFFUSERS_LORA", "train_dtype": "BFLOAT_16", "optimizer": {{"optimizer": "ADAMW_8BIT"}}
}}
"""
        yield derived("OneTrainer", "onetrainer", "OneTrainer", family, "LoRA", "config.json", text)


def sd_scripts():
    lycoris = 'network_module = "lycoris.kohya"\nnetwork_args = ["algo={}", "conv_dim=8"]\n'
    lora = 'network_module = "networks.lora"\n'
    for family, base, adapter, network in [
        ("stable-diffusion", "v1-5.safetensors", "LoRA", lora),
        ("stable-diffusion", "v1-5.safetensors", "LoKr", lycoris.format("lokr")),
        ("stable-diffusion", "v1-5.safetensors", "LoHa", lycoris.format("loha")),
        ("sdxl", "sd_xl_base_1.0.safetensors", "LoRA", lora),
        ("sd3", "sd3.5_medium.safetensors", "LoRA", 'network_module = "networks.lora_sd3"\n'),
        ("flux", "flux1-dev.safetensors", "LoRA", 'network_module = "networks.lora_flux"\nguidance_scale = 1.0\n'),
    ]:
        text = f"""\
pretrained_model_name_or_path = "./models/{base}"
{network}network_dim = 16
network_alpha = 8
train_data_dir = "./images"
resolution = "512,512"
output_dir = "./out"
output_name = "ink"
optimizer_type = "AdamW8bit"
learning_rate = 1e-4
network_train_unet_only = true
max_train_epochs = 10
train_batch_size = 2
mixed_precision = "bf16"
caption_extension = ".txt"
save_model_as = "safetensors"
"""
        yield derived("sd-scripts", "sd-scripts", "sd-scripts", family, adapter, "train.toml", text)


ROWS = [
    *peft(), *diffusers(), *trl(), *llama_factory(), *axolotl(), *simpletuner(), *ai_toolkit(), *onetrainer(), *sd_scripts(),
]

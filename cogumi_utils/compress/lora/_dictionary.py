"""Text that headers of packed adapters have in common, known to both sides so that no file carries it.

Part of the format: another text is another version. A header that has other fields is only less small.
"""

from __future__ import annotations

_NULLS = ("alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config", "exclude_modules",
          "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config",
          "megatron_config", "modules_to_save", "monteclora_config", "revision", "target_parameters",
          "trainable_token_indices", "use_bdlora", "velora_config")  # fmt: skip
_MODULES = ("mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.o_proj",
            "self_attn.q_proj", "self_attn.v_proj")  # fmt: skip


def header_dictionary() -> bytes:
    """The configuration that PEFT 0.21 saves for a Llama's adapter, and the rest of a header for one layer of it."""
    values = dict.fromkeys(_NULLS, "null") | {
        "alpha_pattern": "{}", "base_model_name_or_path": '"00_student/model"', "bias": '"none"',
        "ensure_weight_tying": "false", "fan_in_fan_out": "false", "inference_mode": "true",
        "init_lora_weights": "true", "loftq_config": "{}", "lora_alpha": "64", "lora_bias": "false",
        "lora_dropout": "0.0", "megatron_core": '"megatron.core"', "peft_type": '"LORA"', "peft_version": '"0.21.2"',
        "qalora_group_size": "16", "r": "32", "rank_pattern": "{}", "task_type": '"CAUSAL_LM"', "use_dora": "false",
        "use_qalora": "false", "use_rslora": "false",
        "target_modules": "[" + ",".join(f'"model.layers.0.{module}"' for module in _MODULES) + "]",
    }  # fmt: skip
    config = ",".join(f'"{name}":{values[name]}' for name in sorted(values))
    tensors = ",".join(
        f'"base_model.model.model.layers.0.{module}.lora_{factor}.weight":[32,256,1000,20,-3]'
        for module in _MODULES
        for factor in "AB"
    )
    frames = '["gaps","zstd",1000],["bits","zstd",4000],["two","zstd",20000],["split","zstd",1000]'
    rest = f'"bundles":[9,6,5,6,2],"decoded_sha256":"","frames":[{frames}],"group_size":64,"payload_sha256":""'
    return f'{{"adapter_config":{{{config}}},{rest},"sparsity":0.8,"tensors":{{{tensors}}}}}'.encode()

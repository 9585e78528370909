"""hat-import: checkpoints of the authors' program (made here, in their layout) and their SubTransformer files."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from hat.artifacts import file_digest
from hat.cli.import_ import main
from hat.data.codec import TextCodec
from hat.errors import ConfigError, DataError
from hat.importing.architecture import read_subtransformer
from hat.importing.checkpoint import read_checkpoint
from hat.nn import SuperTransformer, Transformer
from hat.report.runs import find_runs
from hat.space import Architecture

Q, FFN = 8, 12
SUBTRANSFORMER = """\
encoder-embed-dim-subtransformer: 4
decoder-embed-dim-subtransformer: 4
encoder-ffn-embed-dim-all-subtransformer: [12, 6]
decoder-ffn-embed-dim-all-subtransformer: [6, 12]
encoder-layer-num-subtransformer: 2
decoder-layer-num-subtransformer: 1
encoder-self-attention-heads-all-subtransformer: [2, 4]
decoder-self-attention-heads-all-subtransformer: [4, 2]
decoder-ende-attention-heads-all-subtransformer: [2, 2]
decoder-arbitrary-ende-attn-all-subtransformer: [1, -1]
"""


def arguments(**changed: Any) -> argparse.Namespace:
    values = {
        "encoder_embed_choice": [6, 4],
        "decoder_embed_choice": [6, 4],
        "encoder_layer_num_choice": [2],
        "decoder_layer_num_choice": [2, 1],
        "encoder_ffn_embed_dim_choice": [12, 6],
        "decoder_ffn_embed_dim_choice": [12, 6],
        "encoder_self_attention_heads_choice": [4, 2],
        "decoder_self_attention_heads_choice": [4, 2],
        "decoder_ende_attention_heads_choice": [4, 2],
        "decoder_arbitrary_ende_attn_choice": [-1, 1],
        "qkv_dim": Q,
        "share_all_embeddings": True,
        "share_decoder_input_output_embed": True,
        "dropout": 0.3,
        "attention_dropout": 0.1,
        "activation_dropout": 0.0,
        "activation_fn": "relu",
        "lr": [0.1],
    }
    return argparse.Namespace(**{**values, **changed})


def state_dict(
    encoder_dim: int = 6, decoder_dim: int = 6, share: str = "all", pre_norm: bool = False, source: int = 10
) -> dict[str, Tensor]:
    """Random weights in their layout: two layers in each stack, 10 target tokens."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    state = {"encoder.version": torch.tensor([3.0]), "encoder.embed_tokens.weight": random(source, encoder_dim)}
    shared = state["encoder.embed_tokens.weight"] if share == "all" else random(10, decoder_dim)
    state["decoder.embed_tokens.weight"] = shared
    state["decoder.embed_positions._float_tensor"] = torch.zeros(1)
    if share == "none":
        state["decoder.embed_out"] = random(10, decoder_dim)
    for stack, dim in (("encoder", encoder_dim), ("decoder", decoder_dim)):
        for layer in (f"{stack}.layers.0", f"{stack}.layers.1"):
            blocks = {"self_attn": dim} | ({"encoder_attn": encoder_dim} if stack == "decoder" else {})
            for block, key_dim in blocks.items():
                if key_dim == dim:
                    state[f"{layer}.{block}.in_proj_weight"] = random(3 * Q, dim)
                else:
                    for side, width in (("k", key_dim), ("v", key_dim), ("q", dim)):
                        state[f"{layer}.{block}.{side}_proj_weight"] = random(Q, width)
                state[f"{layer}.{block}.in_proj_bias"] = random(3 * Q)
                state |= {
                    f"{layer}.{block}.out_proj.weight": random(dim, Q),
                    f"{layer}.{block}.out_proj.bias": random(dim),
                }
            state |= {f"{layer}.fc1.weight": random(FFN, dim), f"{layer}.fc1.bias": random(FFN)}
            state |= {f"{layer}.fc2.weight": random(dim, FFN), f"{layer}.fc2.bias": random(dim)}
            for norm in (*(f"{block}_layer_norm" for block in blocks), "final_layer_norm"):
                state |= {f"{layer}.{norm}.weight": random(dim), f"{layer}.{norm}.bias": random(dim)}
        if pre_norm:
            state |= {f"{stack}.layer_norm.weight": random(dim), f"{stack}.layer_norm.bias": random(dim)}
    return state


def save(path: Path, state: dict[str, Any], args: Any = None, new_format: bool = True) -> Path:
    content = {"args": args or arguments(), "model": state, "optimizer_history": [{"criterion_name": "x"}]}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    return path


def equal(model: SuperTransformer, other: SuperTransformer) -> bool:
    weights, others = model.weights(), other.weights()
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_both_formats_give_the_same_model(tmp_path: Path) -> None:
    models = [read_checkpoint(save(tmp_path / "x.pt", state_dict(), new_format=new)) for new in (True, False)]
    assert equal(*models)
    assert models[0].space == models[1].space
    assert not models[0].training


def test_choices_and_options(tmp_path: Path) -> None:
    args = arguments(
        encoder_normalize_before=True,
        decoder_normalize_before=True,
        vocab_original_scaling=True,
        activation_dropout=0.2,
    )
    model = read_checkpoint(save(tmp_path / "x.pt", state_dict(pre_norm=True), args))
    options = model.options
    assert (options.share_embeddings, options.pre_norm, options.embed_scale) == ("all", True, "maximum")
    assert (options.dropout, options.attention_dropout, options.activation_dropout) == (0.3, 0.1, 0.2)
    assert model.space.decoder.attended_encoder_layers == (1, 2)
    assert model.space.encoder.embed_dim == (6, 4)
    assert (model.source_vocab_size, model.target_vocab_size) == (10, 10)


def test_super_transformer_larger_than_its_choices(tmp_path: Path) -> None:
    args = arguments(encoder_embed_choice=[4], decoder_ffn_embed_dim_choice=[6], decoder_layer_num_choice=[1])
    model = read_checkpoint(save(tmp_path / "x.pt", state_dict(), args))
    assert model.sizes.encoder.embed_dim == 6
    assert [layer.ffn_dim for layer in model.sizes.decoder.layers] == [12, 12]
    assert str(model.space.largest()) == "enc 4x2 dec 6x1"


def test_without_choices_there_is_one_architecture(tmp_path: Path) -> None:
    names = [name for name in vars(arguments()) if name.endswith("_choice")]
    args = arguments(**dict.fromkeys(names), encoder_attention_heads=2, decoder_attention_heads=4)
    model = read_checkpoint(save(tmp_path / "x.pt", state_dict(), args))
    assert model.space.size() == 1
    assert model.space.largest().decoder.layers[0].cross_attn_heads == 4


@pytest.mark.parametrize("share", ["all", "decoder", "none"])
def test_embeddings(tmp_path: Path, share: str) -> None:
    state = state_dict(share=share, source=10 if share == "all" else 11)
    args = arguments(share_all_embeddings=share == "all", share_decoder_input_output_embed=share != "none")
    model = read_checkpoint(save(tmp_path / "x.pt", state, args))
    assert model.options.share_embeddings == share
    assert torch.equal(model.source_embedding.weight, state["encoder.embed_tokens.weight"])
    assert torch.equal(model.target_embedding.weight, state["decoder.embed_tokens.weight"])
    output = state["decoder.embed_out"] if share == "none" else state["decoder.embed_tokens.weight"]
    assert torch.equal(model.output_embedding.weight, output)


def test_projections_fused_and_separate(tmp_path: Path) -> None:
    fused = state_dict()
    model = read_checkpoint(save(tmp_path / "fused.pt", fused))
    cross = model.weights()
    name = "decoder.layers.1.encoder_attn.in_proj_"
    assert torch.equal(cross["decoder.layers.1.cross_attn.q_proj.weight"], fused[name + "weight"][:Q])
    assert torch.equal(cross["decoder.layers.1.cross_attn.kv_proj.weight"], fused[name + "weight"][Q:])
    assert torch.equal(cross["decoder.layers.1.cross_attn.q_proj.bias"], fused[name + "bias"][:Q])
    assert torch.equal(cross["decoder.layers.1.cross_attn.kv_proj.bias"], fused[name + "bias"][Q:])

    separate = {key: value for key, value in fused.items() if not key.endswith("in_proj_weight")}
    for key, value in fused.items():
        if key.endswith("in_proj_weight"):
            for side, rows in zip("qkv", value.chunk(3), strict=True):
                separate[key.replace("in_proj", f"{side}_proj")] = rows.clone()
    assert equal(read_checkpoint(save(tmp_path / "separate.pt", separate)), model)


def test_encoder_and_decoder_of_different_width(tmp_path: Path) -> None:
    state = state_dict(encoder_dim=10, share="decoder")
    args = arguments(share_all_embeddings=False, encoder_embed_choice=[10, 4])
    separate = read_checkpoint(save(tmp_path / "separate.pt", state, args))
    name = "decoder.layers.0.encoder_attn."
    expected = torch.cat([state[name + "k_proj_weight"], state[name + "v_proj_weight"]])
    assert torch.equal(separate.weights()["decoder.layers.0.cross_attn.kv_proj.weight"], expected)

    # One matrix as wide as the wider stack holds the same weights in its leading columns.
    for layer in (0, 1):
        name = f"decoder.layers.{layer}.encoder_attn."
        queries = torch.full((Q, 10), 7.0)
        queries[:, :6] = state.pop(name + "q_proj_weight")
        rows = [queries, state.pop(name + "k_proj_weight"), state.pop(name + "v_proj_weight")]
        state[name + "in_proj_weight"] = torch.cat(rows)
    assert equal(read_checkpoint(save(tmp_path / "fused.pt", state, args)), separate)


def test_half_precision_weights(tmp_path: Path) -> None:
    state = {name: weight.half() for name, weight in state_dict().items()}
    model = read_checkpoint(save(tmp_path / "x.pt", state))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert torch.equal(model.source_embedding.weight, state["encoder.embed_tokens.weight"].float())


def test_shared_embeddings_may_be_stored_twice_but_must_agree(tmp_path: Path) -> None:
    state = state_dict()
    state["decoder.embed_tokens.weight"] = state["encoder.embed_tokens.weight"].clone()
    read_checkpoint(save(tmp_path / "x.pt", state))
    state["decoder.embed_tokens.weight"][3, 3] += 1
    with pytest.raises(DataError, match="must be one matrix"):
        read_checkpoint(save(tmp_path / "x.pt", state))


LAYER = "decoder.layers.1."


@pytest.mark.parametrize(
    ("name", "weight", "message"),
    [
        (LAYER + "fc2.weight", None, r"lacks the weight decoder\.layers\.1\.fc2\.weight"),
        (LAYER + "fc1.weight", None, "holds 22 weights with no place|must be at most 1"),
        ("encoder.layers.0.fc1.weight", None, "lacks the weight encoder.layers.0.fc1.weight; is this"),
        (LAYER + "fc2.bias", torch.zeros(7), r"fc2\.bias must have shape \[6\], has \[7\]"),
        (LAYER + "fc2.weight", torch.zeros(6), "must have 2 dimensions, has shape"),
        (LAYER + "fc2.bias", torch.tensor([0.0, 1, 2, 3, 4, float("nan")]), "must hold finite numbers"),
        (LAYER + "fc2.bias", torch.full((6,), float("inf")), "must hold finite numbers"),
        (LAYER + "self_attn.bias_k", torch.zeros(1), "holds 1 weights with no place in this kind of model, such as"),
        ("encoder.embed_positions.weight", torch.zeros(3, 3), "no place in this kind of model"),
        (LAYER + "fc2.bias", [1, 2], "'model' must hold tensors by name"),
    ],
)
def test_wrong_weights(tmp_path: Path, name: str, weight: object, message: str) -> None:
    state: dict[str, Any] = state_dict()
    if weight is None:
        del state[name]
    else:
        state[name] = weight
    with pytest.raises(DataError, match=message) as caught:
        read_checkpoint(save(tmp_path / "x.pt", state))
    assert str(caught.value).startswith(f"{tmp_path / 'x.pt'}: ")


def laughs() -> list[Any]:
    """A list that is small in the file and 2^100 items long when it is shown."""
    value: list[Any] = []
    for _ in range(100):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activation_fn": "gelu"}, "activation_fn must be relu"),
        ({"encoder_learned_pos": True}, "learned positions"),
        ({"no_token_positional_embeddings": True}, "models without positions"),
        ({"adaptive_softmax_cutoff": "10,20"}, "adaptive softmax"),
        ({"decoder_normalize_before": True}, "LayerNorm at the same place"),
        ({"encoder_normalize_before": True, "decoder_normalize_before": True}, "lacks the weight encoder.layer_norm"),
        ({"encoder_embed_choice": [10**9]}, "encoder_embed_choice must be at most 6, as large as the weights, has 10"),
        ({"decoder_layer_num_choice": [10**9]}, "decoder_layer_num_choice must be at most 2"),
        ({"encoder_ffn_embed_dim_choice": [13]}, "encoder_ffn_embed_dim_choice must be at most 12"),
        ({"decoder_arbitrary_ende_attn_choice": [-1, 3]}, "must hold -1, 1 or 2, holds 3"),
        ({"encoder_self_attention_heads_choice": [3]}, r"self_attn_heads must divide qkv_dim \(8\), is 3"),
        ({"encoder_embed_choice": [-4]}, "must hold whole numbers above 0"),
        ({"encoder_embed_choice": ["4"]}, r"x\.pt: args: encoder_embed_choice"),
        ({"dropout": 1.5}, r"x\.pt: args: dropout: must be less than 1, is 1\.5"),
        ({"dropout": laughs()}, "dropout must be a plain value or a list of them"),
        ({"dropout": 10**100_000}, "dropout must be a plain value"),
        (
            {"share_all_embeddings": False, "share_decoder_input_output_embed": False},
            "lacks the weight decoder.embed_out",
        ),
    ],
)
def test_wrong_settings(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        read_checkpoint(save(tmp_path / "x.pt", state_dict(), arguments(**changed)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content", [[1], {"model": {}}, {"args": {"lr": 1}, "model": {}}, {"args": arguments(), "model": []}]
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(DataError, match="must be a training checkpoint with 'args' and 'model'"):
        read_checkpoint(tmp_path / "x.pt")


def test_weights_that_share_memory_cannot_outgrow_the_file(tmp_path: Path) -> None:
    block = torch.zeros(1000, 1000)
    state: dict[str, Any] = {f"w{index}": block[:, index:] for index in range(9)}
    with pytest.raises(DataError, match=r"claim .* bytes, more than the file has"):
        read_checkpoint(save(tmp_path / "x.pt", state))


def test_a_subtransformers_checkpoint_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read_checkpoint(save(tmp_path / "x.pt", state_dict(), arguments(train_subtransformer=True)))
    assert "was trained as one SubTransformer" in caplog.text


def test_architecture(tmp_path: Path) -> None:
    (tmp_path / "sub.yml").write_text(SUBTRANSFORMER)
    architecture = read_subtransformer(tmp_path / "sub.yml", qkv_dim=8)
    assert architecture.to_dict() == {
        "format": "hat.architecture/1",
        "qkv_dim": 8,
        "encoder": {
            "embed_dim": 4,
            "layers": [{"ffn_dim": 12, "self_attn_heads": 2}, {"ffn_dim": 6, "self_attn_heads": 4}],
        },
        "decoder": {
            "embed_dim": 4,
            "layers": [{"ffn_dim": 6, "self_attn_heads": 4, "cross_attn_heads": 2, "attended_encoder_layers": 2}],
        },
    }
    (tmp_path / "sub.yml").write_text(SUBTRANSFORMER.replace("-", "_").replace("_1]", "-1]") + "qkv-dim: 16\nlr: 0.1\n")
    assert read_subtransformer(tmp_path / "sub.yml", qkv_dim=8) == architecture.model_copy(update={"qkv_dim": 16})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "encoder-embed-dim-sub",
            "encoder-embed-dims-sub",
            "no such setting. Did you mean 'encoder-embed-dim-subtransformer'?",
        ),
        ("encoder-embed-dim-subtransformer: 4\n", "", "encoder-embed-dim-subtransformer: is required"),
        ("-layer-num-subtransformer: 2", "-layer-num-subtransformer: two", "must be a whole number above 0, is 'two'"),
        ("-layer-num-subtransformer: 2", "-layer-num-subtransformer: 3", "a value for each of the 3 layers, is"),
        ("[1, -1]", "[4, -1]", "must hold -1, 1 or 2 .* holds 4"),
        ("[1, -1]", "[2, -1]", "attended_encoder_layers must be at most the number of encoder layers"),
        ("[2, 4]", "[2, 3]", "self_attn_heads must divide qkv_dim"),
        ("[12, 6]", "12", "must be a list with a value for each of the 2 layers, is 12"),
        ("[12, 6]", "[12, 0]", "ffn_dim"),
        ("[12, 6]", "[12", "not valid YAML"),
    ],
)
def test_wrong_architectures(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SUBTRANSFORMER
    (tmp_path / "sub.yml").write_text(SUBTRANSFORMER.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        read_subtransformer(tmp_path / "sub.yml", qkv_dim=8)
    assert str(caught.value).startswith(str(tmp_path / "sub.yml"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A checkpoint, its dictionaries and a SubTransformer."""
    save(tmp_path / "x.pt", state_dict())
    (tmp_path / "dict.txt").write_text("ein 9\nhund@@ 5\nhaus 4\n. 3\nmadeupword0000 0\nmadeupword0001 0\n")
    (tmp_path / "sub.yml").write_text(SUBTRANSFORMER)
    return tmp_path


def run(folder: Path, *flags: str) -> int:
    return main(["checkpoint", str(folder / "x.pt"), "--output", str(folder / "model"), *flags])


def dictionaries(folder: Path) -> list[str]:
    return ["--source-dict", str(folder / "dict.txt"), "--target-dict", str(folder / "dict.txt")]


class TestCommand:
    def test_super_transformer(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(files, *dictionaries(files)) == 0
        assert capsys.readouterr().out == f"{files / 'model'}\n"
        assert equal(SuperTransformer.from_pretrained(files / "model"), read_checkpoint(files / "x.pt"))
        codec = TextCodec.load(files / "model" / "tokenizer")
        assert codec.joint_vocabulary and len(codec.source_vocabulary) == 10
        assert codec.encode_source("ein hund@@ haus") == [4, 5, 6, 2]
        assert codec.decode_target([4, 5, 6, 2]) == "ein hundhaus"  # text of subwords is put together again

    def test_sub_transformer(self, files: Path) -> None:
        assert run(files, *dictionaries(files), "--subtransformer", str(files / "sub.yml")) == 0
        net = Transformer.from_pretrained(files / "model")
        architecture = read_subtransformer(files / "sub.yml", qkv_dim=Q)
        assert net.architecture == architecture
        tokens = torch.tensor([[4, 5, 2]])
        with torch.no_grad():
            expected = read_checkpoint(files / "x.pt")(tokens, tokens, architecture)
            torch.testing.assert_close(net(tokens, tokens), expected)

    def test_bpe_codes(self, files: Path) -> None:
        (files / "codes").write_text("#version: 0.2\nh a\nha u\n")
        assert run(files, *dictionaries(files), "--bpe-codes", str(files / "codes")) == 0
        codec = TextCodec.load(files / "model" / "tokenizer")
        assert codec.source_tokenizer.split("haus") == ["hau@@", "s"]

    def test_without_dictionaries(self, files: Path) -> None:
        assert run(files, "--no-dictionaries") == 0
        made = sorted(path.name for path in (files / "model").iterdir())
        assert made == ["config.json", "config.yaml", "model.safetensors", "run.json"]

    def test_the_folder_says_what_it_was_made_from(self, files: Path) -> None:
        assert run(files, *dictionaries(files)) == 0
        record = json.loads((files / "model" / "run.json").read_text())
        assert (record["command"], record["checkpoint_digest"]) == ("hat-import", file_digest(files / "x.pt"))
        settings = yaml.safe_load((files / "model" / "config.yaml").read_text())
        assert settings["checkpoint"] == str(files / "x.pt") and settings["subtransformer"] is None
        (imported,) = find_runs([files / "model"])
        assert imported.kind == "super"

    def test_another_commands_folder_is_left_as_it_is(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (files / "model").mkdir()
        (files / "model" / "run.json").write_text('{"command": "hat-train-sub"}')
        assert run(files, *dictionaries(files)) == 2
        assert "must not hold what hat-train-sub made" in capsys.readouterr().err
        assert [path.name for path in (files / "model").iterdir()] == ["run.json"]

    def test_architecture(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = files / "architecture.json"
        assert main(["architecture", str(files / "sub.yml"), "--qkv-dim", "8", "--output", str(output)]) == 0
        assert capsys.readouterr().out == f"{output}\n"
        assert Architecture.from_json(output) == read_subtransformer(files / "sub.yml", qkv_dim=8)
        assert json.loads(output.read_text())["decoder"]["layers"][0]["attended_encoder_layers"] == 2

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ([], "--source-dict and --target-dict: both are needed; --no-dictionaries goes without text."),
            (["--no-dictionaries", "--bpe-codes", "x"], "--no-dictionaries: leave --source-dict"),
            (["--no-dictionaries", "--subtransformer", "none.yml"], "none.yml: no such file"),
            (["--sub", "x"], "unrecognized arguments: --sub x"),
        ],
    )
    def test_flags(self, files: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
        assert run(files, *flags) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and error.startswith("hat-import: ")
        assert not (files / "model").exists()

    def test_a_model_is_not_overwritten(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(files, "--no-dictionaries") == 0
        before = (files / "model" / "model.safetensors").stat().st_mtime_ns
        assert run(files, "--no-dictionaries") == 2
        assert "must not hold a model yet" in capsys.readouterr().err
        assert (files / "model" / "model.safetensors").stat().st_mtime_ns == before

    def test_dictionaries_must_fit(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (files / "short.txt").write_text("ein 9\n")
        assert run(files, "--source-dict", str(files / "dict.txt"), "--target-dict", str(files / "short.txt")) == 2
        assert "short.txt: must have 10 symbols" in capsys.readouterr().err
        (files / "other.txt").write_text("".join(f"w{index} 1\n" for index in range(6)))
        assert run(files, "--source-dict", str(files / "dict.txt"), "--target-dict", str(files / "other.txt")) == 2
        assert "one embedding matrix for both sides" in capsys.readouterr().err
        assert not (files / "model").exists()

    def test_sub_transformer_must_fit(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (files / "sub.yml").write_text(
            SUBTRANSFORMER.replace("embed-dim-subtransformer: 4", "embed-dim-subtransformer: 7")
        )
        assert run(files, "--no-dictionaries", "--subtransformer", str(files / "sub.yml")) == 2
        assert "sub.yml: architecture: does not fit" in capsys.readouterr().err
        assert not (files / "model").exists()

    def test_no_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        assert "the following arguments are required" in capsys.readouterr().err

import os
from pathlib import Path

import pytest

from ferplus_keras.arguments import as_words, to_plain
from ferplus_keras.config import EvaluateConfig, TrainConfig, read_config
from ferplus_keras.errors import InputError, UsageError
from ferplus_keras.training.train import train


def read(line: str, config_class=TrainConfig):
    return read_config(config_class, line.split(), "train.py")


@pytest.mark.parametrize(("model", "position"), [("ResNet50", -51), ("SeNet50", -39)])
def test_training_commands_of_the_older_project(model, position):
    config = read(
        f"--init_lr 0.001 --lr_policy plateau --model_name {model} --dataset_name FERPlus "
        f"--name Experiment --freeze_before {position} --batch_size 64"
    )
    assert config == TrainConfig(
        init_lr=0.001,
        lr_policy="plateau",
        model_name=model,
        dataset_name="FERPlus",
        name="Experiment",
        freeze_before=position,
        batch_size=64,
    )


def test_test_command_of_the_older_project():
    config = read(
        "--checkpoint_path a/b.hdf5 --model_name ResNet50 --dataset_name FERPlus "
        "--name Experiment --batch_size 64",
        EvaluateConfig,
    )
    assert (config.checkpoint_path, config.model_name, config.name) == (
        ("a/b.hdf5",),
        "ResNet50",
        "Experiment",
    )


def test_flags_of_the_older_project_are_understood():
    config = read(
        "--model_name ResNet50 --dataset_name FER --batch_size 20 --image_size 96 "
        "--freeze_before conv4_5_1x1_increase --dropout_rate 0 --activation sigmoid --reg_func l1 "
        "--reg_layers dense conv5_3_3x3 --reg_bias --num_gpus 0 --name a --checkpoints_dir c "
        "--checkpoint_path p --lr_policy step --lr_decay_epochs 5 --nepochs 3 --init_lr 1e-2 "
        "--adam_b1 0.5 --adam_b2 0.99 --optimizer SGD --momentum 0.8 "
        "--class_weights 1 2.5 3 4 5 6 7 --loss mse --metrics acc top_k_categorical_accuracy"
    )
    assert config.class_weights == (1, 2.5, 3, 4, 5, 6, 7)
    assert config.reg_layers == ("dense", "conv5_3_3x3")
    assert config.reg_bias is True
    assert config.freeze_before == "conv4_5_1x1_increase"
    assert config.metrics == ("acc", "top_k_categorical_accuracy")
    assert config.init_lr == 0.01


@pytest.mark.parametrize("flag", ["n_threads_train", "n_threads_test", "output_logs_dir"])
def test_a_dropped_flag_of_the_older_project_says_what_to_do(flag):
    for config_class in (TrainConfig, EvaluateConfig):
        with pytest.raises(UsageError, match=f"--{flag} is the older project's: .*leave it out"):
            read(f"--{flag}=8", config_class)
    with pytest.raises(UsageError, match="--overwrite"):
        read("--remove_prev_exp")


@pytest.mark.parametrize("order", ["--config {0} --batch_size 7", "--batch_size 7 --config {0}"])
def test_flags_win_over_yaml_wherever_they_stand(tmp_path, order):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "batch_size: 5\nnepochs: 4\nfreeze_before: -51\nclass_weights: [1, 2]\nreg_bias: true\n"
        "reg_layers: null\n"
    )
    config = read(order.format(recipe))
    assert (config.batch_size, config.nepochs, config.freeze_before) == (7, 4, -51)
    assert config.class_weights == (1, 2)
    assert config.reg_bias is True
    assert config.reg_layers is None


def test_what_is_saved_reads_back_the_same(tmp_path):
    import yaml

    config = read("--class_weights balanced --freeze_before activation_36 --init_lr 1e-05")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(to_plain(config)))
    assert read(f"--config {path} --name {config.name}") == config


def test_no_teacher_undoes_those_of_a_recipe():
    recipe = read("--config fast_fer")
    assert len(recipe.teacher) == 2
    without = read("--config fast_fer --teacher none")
    assert (without.teacher, without.teacher_weight) == (None, None)


def test_the_nearest_of_many_names_is_not_buried_by_the_others():
    with pytest.raises(UsageError) as raised:
        read("--modle_name ResNet50")
    assert str(raised.value) == "unknown argument '--modle_name'; did you mean '--model_name'?"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--modle_name ResNet50", "did you mean '--model_name'?"),
        ("--model_name resnet50", "did you mean 'ResNet50'?"),
        ("--label_rule majorty", "did you mean 'majority'?"),
        ("--dataset_name FER+", "FERPlus"),
        ("--lr_policy plateu", "did you mean 'plateau'?"),
        ("--batch_size 0", "at least 1"),
        ("--batch_size many", "whole number"),
        ("--dropout_rate 1", "below 1"),
        ("--init_lr 0", "above 0"),
        ("--init_lr nan", "above 0"),
        ("--image_size 4", "at least 8"),
        ("--reg_bias maybe", "true or false"),
        ("--config nowhere.yaml", "no configuration file"),
        ("--model_name", "expected one argument"),
        ("ResNet50", "unexpected argument"),
        ("--resume --name never_started", "nothing to resume"),
    ],
)
def test_wrong_arguments_are_one_line(line, said):
    with pytest.raises(UsageError) as caught:
        read(line)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "line", "refused"),
    [
        ("lr_policy: plateau", "--nepochs 9", None),
        ("lr_policy: step", "--nepochs 9", None),
        ("lr_policy: cosine_restarts", "--nepochs 9 --workers 1 --loggers none", None),
        ("lr_policy: cosine", "--nepochs 9", "--nepochs was 5, got 9"),
        ("lr_policy: one_cycle", "--nepochs 9", "--nepochs was 5, got 9"),
        ("stages: ['5:0:0.1']", "--nepochs 9", "--nepochs was 5, got 9"),
        ("lr_policy: cosine", "--nepochs 5", None),
        ("lr_policy: plateau", "--init_lr 0.5", "--init_lr was 0.001, got 0.5"),
    ],
)
def test_what_a_resumed_run_may_be_given_anew(tmp_path, settings, line, refused):
    import yaml

    saved = to_plain(TrainConfig(nepochs=5)) | yaml.safe_load(settings)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(saved))
    config = read(f"--resume --checkpoints_dir {tmp_path} --name run --data_dir {tmp_path} {line}")
    # What may be given anew is not refused; then there are no data.
    with pytest.raises((UsageError, InputError), match=refused or "no fer2013new.csv") as caught:
        train(config)
    assert "\n" not in str(caught.value)


def test_a_flag_that_stages_make_idle_is_refused(tmp_path):
    path = tmp_path / "staged.yaml"
    path.write_text("stages: ['5:0:0.1']\nnepochs: 9\n")
    for flag in ("--nepochs 1", "--init_lr 0.1", "--freeze_before 0"):
        for line in (f"--config {path} {flag}", f"{flag} --stages 1:0:0.1"):
            with pytest.raises(UsageError, match=f"{flag.split()[0]} has no effect on stages"):
                read(line)


def test_a_flag_that_says_where_to_start_replaces_the_files(tmp_path):
    path = tmp_path / "started.yaml"
    path.write_text("checkpoint_path: a.keras\n")
    found = read(f"--config {path} --weights none")
    assert (found.checkpoint_path, found.weights) == (None, "none")
    path.write_text("weights: dlib\n")
    found = read(f"--config {path} --checkpoint_path a.keras")
    assert (found.checkpoint_path, found.weights) == ("a.keras", None)


@pytest.mark.parametrize("name", ["nepochs", "batch_size", "name", "freeze_before"])
def test_a_setting_is_not_none_unless_that_is_its_default(name):
    with pytest.raises(UsageError, match=f"--{name}: expected a value, got None"):
        TrainConfig(**{name: None})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle_name: ResNet50\n", "did you mean 'model_name'?"),
        ("label_rule: majorty\n", "did you mean 'majority'?"),
        ("batch_size: [1, 2]\n", "expected one value"),
        ("batch_size: []\n", "expected one value"),
        ("- a\n- b\n", "setting: value"),
        ("a: [\n", "YAML"),
        ("batch_size: 1\nbatch_size: 2\n", "the key 'batch_size'"),
        ("batch_size: !!float x\n", "YAML"),
        ("batch_size: x\n", "whole number"),
        (
            "overwrite: true\n",
            "'overwrite: True' is for the command line only; leave it out",
        ),
        ("resume: yes\n", "'resume: True' is for the command line only; leave it out"),
        (
            "name: theirs\n",
            "'name: theirs' is for the command line only; leave it out",
        ),
        ("metrics: &a [x]\nstages: *a\n", "got an alias"),
        ("[" * 20_000, "YAML"),
        ("batch_size: !!timestamp 5\n", "YAML"),
        ("? [a]\n: 1\n", "YAML"),
        ("batch_size: \x00\n", "YAML"),
        ('cache_dir: "a\\0b"\n', r"expected text that can name a file, got 'a\x00b'"),
        ('exclude: "\\ud800"\n', "can name a file"),
    ],
)
def test_wrong_yaml_is_one_line(tmp_path, text, said):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(f"--config {path}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_stages_in_yaml_are_text(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("stages: [5:-3:0.01, 10:0:0.001, 5:20:1]\n")
    assert read(f"--config {path}").stages == ("5:-3:0.01", "10:0:0.001", "5:20:1")


def test_classes_in_yaml_keep_their_zeros(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("class_map: {a: 01, b: [02, 03], c: 010}\nseed: 0\n")
    assert read(f"--config {path}").class_map == ("a=01", "b=02+03", "c=010")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x", "/tmp/x", "a\\b", "a\nb"])
def test_a_name_is_a_name(name):
    with pytest.raises(UsageError, match="--name: expected the name of a folder"):
        TrainConfig(name=name)
    with pytest.raises(UsageError, match="--name: expected text that can name a file"):
        TrainConfig(name=f"{name}\0")


def test_a_list_in_yaml_hides_no_flags(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text('metrics: [accuracy, --overwrite, "true"]\n')
    config = read(f"--config {path}")
    assert not config.overwrite
    assert config.metrics == ("accuracy", "--overwrite", "true")


def test_a_recipe_may_name_or_overwrite_where_the_command_line_does(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("name: theirs\noverwrite: true\n")
    config = read(f"--config {path} --overwrite --name mine")
    assert (config.name, config.overwrite) == ("mine", True)
    assert not read(f"--config {path} --overwrite false --name mine").overwrite
    path.write_text("name: theirs\noverwrite: false\nresume: false\n")  # as in a run's own
    assert not read(f"--config {path} --name mine").overwrite


def test_the_last_file_names_the_run_unless_a_flag_does(tmp_path):
    first, last = tmp_path / "first.yaml", tmp_path / "my_faces.yaml"
    for path in (first, last):
        path.write_text("batch_size: 3\n")
    assert read("").name == "experiment_1"
    assert read(f"--config {first} --config {last}").name == "my_faces"
    assert read(f"--config {first} --name other --config {last}").name == "other"
    tested = read_config(EvaluateConfig, ["--config", str(last)], "test.py")
    assert tested.name is None


def test_a_run_is_resumed_by_the_recipe_that_began_it(tmp_path):
    import yaml

    recipe, run = tmp_path / "faces.yaml", tmp_path / "runs" / "faces"
    recipe.write_text(f"checkpoints_dir: {run.parent}\nnepochs: 3\n")
    with pytest.raises(UsageError, match=r"nothing to resume: no .*/runs/faces/config\.yaml"):
        read(f"--config {recipe} --resume")
    run.mkdir(parents=True)
    began = to_plain(read(f"--config {recipe} --batch_size 7 --name before_it_was_moved"))
    (run / "config.yaml").write_text(yaml.safe_dump(began))
    for line in (f"--config {recipe}", f"--name faces --checkpoints_dir {run.parent}"):
        resumed = read(f"{line} --resume")
        assert (resumed.run_dir, resumed.batch_size, resumed.nepochs) == (run, 7, 3)


def test_a_run_is_resumed_where_its_folder_lies(tmp_path, monkeypatch):
    import yaml

    monkeypatch.chdir(tmp_path)
    run = tmp_path / "checkpoints" / "experiment_1"
    run.mkdir(parents=True)
    began = TrainConfig(name="before", checkpoints_dir="/elsewhere", batch_size=7)
    (run / "config.yaml").write_text(yaml.safe_dump(to_plain(began)))
    for line in ("--resume", "--resume --name experiment_1", "--resume --checkpoints_dir ."):
        if line.endswith("."):
            monkeypatch.chdir(run.parent)
        resumed = read(line)
        assert (resumed.run_dir.resolve(), resumed.batch_size) == (run, 7)


def test_words_of_a_command_line_hide_no_flags():
    assert as_words({"metrics": ["a", "b"], "freeze_before": -51, "seed": None}) == [
        *("--metrics", "a", "b", "--freeze_before", "-51")
    ]
    with pytest.raises(UsageError, match="expected a value for 'metrics', got '--overwrite'"):
        as_words({"metrics": ["accuracy", "--overwrite", "true"]})


def test_a_pipe_is_no_recipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        read(f"--config {tmp_path / 'pipe.yaml'}")


def test_settings_from_python_are_checked_too():
    with pytest.raises(UsageError, match="did you mean 'test'"):
        EvaluateConfig(splits=["tests"])
    with pytest.raises(
        UsageError, match="--splits: expected train or validation or test, got none"
    ):
        EvaluateConfig(splits=[])
    with pytest.raises(UsageError, match="--batch_size: expected a whole number of at least 1"):
        TrainConfig(batch_size=0)
    assert TrainConfig(class_weights=["balanced"]).class_weights == ("balanced",)
    with pytest.raises(UsageError, match="--batch_size: expected one value, got"):
        TrainConfig(batch_size=[1, 2])


def test_settings_from_python_are_of_their_types():
    config = TrainConfig(nepochs="5", freeze_before="-51", data_dir=Path("data"), drop_leaks="true")
    assert (config.nepochs, config.freeze_before, config.data_dir) == (5, -51, "data")
    assert config.drop_leaks is True


@pytest.mark.parametrize("name", ["compact_fer", "recipes/compact_fer.yaml", "compact_fer.yaml"])
def test_a_recipe_is_found_by_its_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_config(TrainConfig, ["--config", name], "train.py")
    assert (config.name, config.model_name) == ("compact_fer", "CompactFER")
    (tmp_path / "compact_fer.yaml").write_text("model_name: VGG13\n")  # an own file comes first
    if name == "compact_fer.yaml":
        assert read_config(TrainConfig, ["--config", name], "train.py").model_name == "VGG13"
    with pytest.raises(UsageError, match="no configuration file elsewhere"):
        read_config(TrainConfig, ["--config", "elsewhere/compact_fer.yaml"], "train.py")

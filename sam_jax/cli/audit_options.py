"""The options of `sam-jax audit`."""

import dataclasses
import pathlib

import sam_jax


@dataclasses.dataclass(frozen=True)
class Config:
    """Audits optimizers on a data set: who leaks more about its training examples?"""

    name: str = "default"
    """Folder of the results: runs/audit/NAME."""
    runs_dir: str = "runs"
    """Folder of all runs, or s3://... or gs://... (see docs/scale.md)."""
    dataset: str = "fashion_mnist_10k"
    """A registered set, any TFDS set, a path to an .npz, .csv or .parquet file, or
    hf:NAME of Hugging Face (see docs/data.md)."""
    data_dir: str | None = None
    """Where prepared TFDS sets lie; TFDS's default otherwise."""
    manual_dir: str | None = None
    """Where archives lie that have to be downloaded by hand."""
    image_size: int | None = None
    """Resize images to this many pixels a side."""
    pool_size: int = 500
    """Draw training sets from so many random examples of the set; 0 takes all."""
    label_noise: float = 0.0
    """Share of the pool's labels to replace by wrong ones."""
    label_column: str | None = None
    """Column of the labels of a table or a Hugging Face set; label by default."""
    model: str = "mlp"
    """A registered network, or module:function of your code, called with the number of
    classes."""
    augment: tuple[str, ...] = ()
    """Registered augmentations of training images, in this order: flip, crop, ..."""
    num_queries: int = 1
    """Augmented queries of each example that the attacks see, the first unchanged."""
    precision: str = "auto"
    """Of the networks: float32, bfloat16, or auto (bfloat16 on a GPU or TPU). Weights,
    normalisation and losses are float32 in any case."""
    optimizers: tuple[str, ...] = ("sgd", "sam")
    """Registered optimizers; the first is what the others are compared with. sgd is the
    base alone, also under the name of --base."""
    rho: tuple[float, ...] = ()
    """SAM radii; every optimizer but the base is trained at each. Without: the
    default of each, as published (docs/optimizers.md)."""
    base: str = "sgd"
    """Base optimizer, of optax: sgd, adamw, lion, muon, ..."""
    base_settings: tuple[str, ...] = ()
    """Its settings as name=value, by optax's names: b1=0.9 weight_decay=1e-4."""
    learning_rate: float | None = None
    """Peak learning rate; 0.1 by default for sgd, to be given for other bases."""
    momentum: float | None = None
    """Heavy-ball momentum of sgd, 0.9 by default; other bases have --base-settings."""
    weight_decay: float | None = None
    """Decay added to the gradient after SAM's perturbation, which does not see it; by
    default 0.005 for sgd, 0 for other bases. Bases that decay weights themselves, such
    as adamw, take it from --base-settings."""
    schedule: str = "cosine"
    """Learning rate over time: cosine (to zero) or constant."""
    num_models: int = 32
    """Shadow models for each optimizer; even, at least 4. Each is a target in turn."""
    num_canaries: int = 0
    """Pool examples to mislabel and give a coin in each model, for bounds on epsilon
    from single training runs; they do not count as examples."""
    num_epochs: int = 500
    """Passes of each model over its half of the pool, at most."""
    batch_size: int = 64
    """Examples in a step."""
    stop_accuracy: float | None = None
    """Freeze a model once its running training accuracy reaches this, to compare at
    equal accuracy where some optimizer does not fit all; None trains all epochs."""
    attacks: tuple[str, ...] = sam_jax.DEFAULT_ATTACKS
    """Registered attacks or module:attack of your code, the main one first; and
    all: those that models, data and queries have the means for."""
    models_per_chunk: int | None = None
    """Models that train at once; chosen for the machine by default."""
    models_per_vmap: int | None = None
    """Of these, models under one vmap on a device; the others follow. By default one
    where there are convolutions, else all on a GPU or TPU, and on a CPU core one or,
    where they are small, up to eight; or what --time-vmap measures.
    SAM_JAX_MODELS_PER_VMAP sets it too."""
    time_vmap: bool | None = None
    """Time 1, 2, 4, ... models under one vmap after the first epoch and go on with the
    fastest, if that takes at most 2 % of the run, compilation included. None: on a GPU
    or TPU. The times are kept with the compiled programs, for later runs."""
    max_diverged: int = 0
    """Models of an optimizer that may diverge; they are left out, with their pairs."""
    seed: int = 0
    """Seed of everything random."""
    cache_dir: str | None = None
    """Keep the trained chunks of models here (s3:// and gs:// too), also after the run,
    with up to 1 GiB of weights an optimizer: a later run of more models, optimizers,
    augmented queries or other attacks trains what is missing. By default a folder of
    the run, removed when it is finished."""
    retrain_changed: bool = False
    """Train models again that are there but depend on something else than now (data,
    code, versions), instead of stopping; the old ones stay as *.bad."""
    save_models: bool = False
    """Keep the weights of all models, however large, in the run's folder models, for
    sam_jax.load_models (with --cache-dir, there too); explain then measures these
    instead of training them again."""
    shard: str | None = None
    """Train share i of n only, as "i/n", i from 0 (job arrays); the same command
    without it trains what is missing and attacks."""
    distributed: bool = False
    """One of the processes of a job, detected by JAX (SLURM, Open MPI, Kubernetes, TPU
    pods); each trains its share, then process 0 attacks."""
    coordinator: str | None = None
    """Address host:port of process 0, where JAX cannot find it; with num_processes."""
    num_processes: int | None = None
    """Processes in all."""
    process_id: int | None = None
    """Number of this one, from 0."""
    config: pathlib.Path | None = None
    """config.json of a run, or its folder, for settings that no option gives."""
    overwrite: bool = False
    """Replace the results of an earlier run of the same name."""

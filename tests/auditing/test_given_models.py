import re

import jax
import numpy as np
import optax
import pytest
from scipy import stats

import sam_jax
from sam_jax.attacks import ATTACKS, score_targets
from sam_jax.auditing.given_models import attack_given
from sam_jax.auditing.shadow_pairing import Question, join_target
from sam_jax.metrics.target_checks import check_target
from sam_jax.models import mlp
from sam_jax.reporting import audit_report
from sam_jax.signals.targets import load_targets
from tests.auditing.given import make_given, no_population

TARGET, SHADOWS = make_given()
MEMBERS = np.asarray(TARGET.keep)[0]
POOL = np.arange(400) < 300
SHADOWED = [
    name
    for name in ATTACKS
    if "queries" not in ATTACKS[name].needs and name != "shadow_classifier"
]


def attack(targets, shadows, names=("lira_online", "loss"), population=None):
    first = next(iter(targets.values()))
    population = no_population(first) if population is None else population
    x = np.zeros((len(first.labels), 0), np.float32)
    labels = np.asarray(first.labels)
    dataset = sam_jax.Dataset(
        "made", 3, sam_jax.Examples(x, labels), sam_jax.Examples(x[:0], labels[:0])
    )
    config = sam_jax.AttackConfig(attacks={name: ATTACKS[name] for name in names})
    return attack_given(targets, shadows, population, dataset, config)


def auc_of(result, name="target", attack="lira_online"):
    return result[name].attacks[attack].metrics.pooled["auc"]


def exact_auc(scores, members):
    u = stats.mannwhitneyu(scores[members], scores[~members]).statistic
    return u / (members.sum() * (~members).sum())


def test_lira_on_a_given_model_is_the_ratio_of_gaussians_of_its_shadow_models():
    score = ATTACKS["lira_online_plain"]
    joined = join_target(TARGET, SHADOWS, Question(POOL, ~POOL))
    scores = score_targets(score, joined, np.array([16]))[0]
    phi, keep = SHADOWS.phi[..., 0].astype(float), SHADOWS.keep
    side = {}
    for group, name in ((keep, "in"), (~keep, "out")):
        count = group.sum(axis=0)
        mean = np.sum(phi, axis=0, where=group) / np.maximum(count, 1)
        scatter = np.sum((phi - mean) ** 2, axis=0, where=group)
        freedom = np.maximum(count - 1, 0)
        pooled = scatter.sum() / freedom.sum()
        variance = (4 * pooled + scatter) / (4 + freedom)
        side[name] = stats.norm(mean, np.sqrt(variance)).logpdf(TARGET.phi[0, :, 0])
    expected = (side["in"] - side["out"])[POOL]
    np.testing.assert_allclose(scores[POOL], expected, atol=0.02, rtol=0.02)
    result = attack({"target": TARGET}, {"sgd": SHADOWS}, ["lira_online_plain"])
    value = auc_of(result, attack="lira_online_plain").value
    assert value == pytest.approx(exact_auc(scores[POOL], MEMBERS[POOL]))


@pytest.mark.parametrize("name", SHADOWED)
def test_no_attack_on_a_given_model_sees_its_members(name):
    """Scores stay as they are when the target's members are other ones."""
    other = TARGET._replace(keep=np.roll(TARGET.keep, 7, axis=1) & POOL)
    for shadows in (SHADOWS, None):
        question = Question(POOL, ~POOL)
        joined = [join_target(t, shadows, question) for t in (TARGET, other)]
        if shadows is None and {"in_models", "out_models", "tuning"} & {
            *ATTACKS[name].needs
        }:
            continue
        scores = [
            score_targets(ATTACKS[name], j, np.array([len(j.keep) - 1])) for j in joined
        ]
        np.testing.assert_array_equal(*scores)


@pytest.mark.slow
def test_intervals_of_a_given_model_cover_over_new_examples():
    """The chance level, and a planted AUC, with the shadow models as they are."""
    shift, seen = 1.0, []
    for seed in range(40):
        target, shadows = make_given(seed, shift=shift, num_population=0)
        result = attack({"target": target}, {"sgd": shadows}, ["calibrated_loss"])
        seen.append(auc_of(result, attack="calibrated_loss"))
    centre = np.mean([e.value for e in seen])
    covered = np.mean([e.low <= centre <= e.high for e in seen])
    assert covered >= stats.binom.ppf(0.005, 40, 0.95) / 40
    error = np.mean([e.standard_error for e in seen])
    assert error == pytest.approx(np.std([e.value for e in seen]), rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("with_shadows", [True, False])
def test_a_model_without_a_leak_is_said_to_leak_at_most_at_the_level(with_shadows):
    num_leaks, names = 0, ["lira_online", "loss"] if with_shadows else ["loss"]
    for seed in range(60):
        target, shadows = make_given(
            seed, shift=0, num_shadows=8, num_examples=200, num_population=20
        )
        given = {"sgd": shadows} if with_shadows else {}
        result = attack({"target": target}, given, names, ~(np.arange(220) < 200))
        num_leaks += any(f.outcome == "leak" for f in result.leaks())
    assert num_leaks <= stats.binom.ppf(0.995, 60, 0.05)


def test_thresholds_come_from_shadow_models_or_else_from_the_population():
    with_shadows = attack({"target": TARGET}, {"sgd": SHADOWS})
    (best, *_) = with_shadows["target"].attacks["lira_online"].decisions
    assert best.rule == "best on shadow models"
    alone = attack({"target": TARGET}, {}, ["confidence"], ~POOL)
    (made,) = alone["target"].attacks["confidence"].decisions
    assert made.rule == "FPR 1 % on the population"
    scores = score_targets(
        ATTACKS["confidence"],
        join_target(TARGET, None, Question(POOL, ~POOL)),
        np.array([0]),
    )[0]
    above = np.sort(scores[~POOL])[-2]  # one of a hundred may lie above
    decided = scores[POOL] > above
    assert made.counts.true_positives == (decided & MEMBERS[POOL]).sum()
    assert made.counts.false_positives == (decided & ~MEMBERS[POOL]).sum()
    counts = made.counts
    exact = stats.binomtest(counts.true_positives, counts.num_members)
    exact = exact.proportion_ci(method="exact")
    assert (made.tpr.low, made.tpr.high) == pytest.approx((exact.low, exact.high))


def test_shadow_models_that_had_none_of_the_examples_allow_offline_attacks_alone():
    out = SHADOWS._replace(keep=np.zeros_like(SHADOWS.keep))
    result = attack({"target": TARGET}, {"sgd": out}, ["lira_offline"], ~POOL)
    assert result.given.mode == "out"
    assert "No shadow model trained on the examples" in sam_jax.verdict(result)
    with pytest.raises(ValueError, match="lira_online needs shadow models that train"):
        attack({"target": TARGET}, {"sgd": out}, population=~POOL)


def test_two_given_models_with_the_same_members_are_compared():
    stronger = TARGET._replace(
        phi=TARGET.phi + 3 * TARGET.keep[..., None].astype(np.float32)
    )
    both = {"a": TARGET, "b": stronger}
    result = attack(both, {"sgd": SHADOWS}, ["lira_online"])
    assert list(result.compared) == ["b"]
    assert "b leaks more than a" in sam_jax.verdict(result)
    moved = np.where(POOL, ~MEMBERS, False)[None]
    apart = attack({"a": TARGET, "b": stronger._replace(keep=moved)}, {}, ["loss"])
    assert not apart.compared


def test_report_and_numbers_say_that_intervals_are_over_examples(tmp_path):
    result = attack({"a": TARGET, "b": TARGET}, {"sgd": SHADOWS})
    assert "Intervals are over examples alone" in sam_jax.verdict(result)
    page = audit_report.report(result, {})
    assert "over new examples" in page
    shown = re.sub(r"(?s)<script.*?</script>|<image.*?>|<img.*?>", "", page)
    assert not re.search(r"\bnan\b", shown, re.IGNORECASE)
    assert "16 shadow models trained with and without" in page
    assert result.numbers()["given"]["intervals"] == "over examples"
    alone = attack({"a": TARGET}, {}, ["loss"])
    page = audit_report.report(alone, {})
    assert "no shadow models" in page and "Number of models" not in page
    assert "over examples" in repr(alone)


@pytest.mark.parametrize("with_shadows", [True, False])
def test_a_saved_audit_of_given_models_is_read_back(with_shadows, tmp_path):
    shadows = {"sgd": SHADOWS} if with_shadows else {}
    result = attack({"a": TARGET, "b": TARGET}, shadows, ["loss"], ~POOL)
    result.save(tmp_path)
    again = sam_jax.load_audit(tmp_path)
    assert sam_jax.verdict(again) == sam_jax.verdict(result)
    assert again.numbers() == result.numbers()
    np.testing.assert_array_equal(again["a"].signals.keep, TARGET.keep)
    # What was saved can be attacked again, as given models with given shadow models.
    saved = load_targets([tmp_path / "targets.npz"])
    np.testing.assert_array_equal(saved.population, ~POOL)
    assert list(saved.signals) == ["a", "b"]
    (tmp_path / "targets.npz").unlink()
    with pytest.raises(ValueError, match="finished run: .* has no targets.npz"):
        sam_jax.load_audit(tmp_path)


def severities(target, shadows):
    checks = check_target(target, shadows, POOL, ~POOL)
    return {c.name: c.severity for c in checks if c.severity != "ok"}


def test_a_target_like_its_shadow_models_passes_and_others_are_flagged():
    assert severities(TARGET, SHADOWS) == {}
    sure = TARGET.phi + 9 * TARGET.keep[..., None].astype(np.float32)
    overfit = severities(TARGET._replace(phi=sure), SHADOWS)
    assert overfit == {"loss on members": "warning"}
    wrong = TARGET.keep & (np.arange(400) % 3 < 1)
    underfit = TARGET._replace(correct=TARGET.correct & ~wrong)
    assert severities(underfit, SHADOWS) == {"training accuracy": "invalid"}
    copy = SHADOWS.select(models=[3])
    rounded = copy._replace(phi=copy.phi.astype(np.float16).astype(np.float32))
    for same in (copy, rounded):
        assert severities(same, SHADOWS)["copy"] == "invalid"
    inverted = TARGET._replace(keep=~TARGET.keep)
    for shadows in (None, SHADOWS):
        assert severities(inverted, shadows)["mask"] == "invalid"
    uneven = SHADOWS._replace(keep=SHADOWS.keep & (MEMBERS | (np.arange(400) % 2 == 0)))
    assert severities(TARGET, uneven)["shadow counts"] == "warning"
    few = TARGET.select(examples=slice(60)), SHADOWS.select(examples=slice(60))
    checks = check_target(*few, np.ones(60, bool), np.zeros(60, bool))
    assert checks[0].severity == "warning" and "so few" in checks[0].text


def test_members_that_no_shadow_model_had_do_not_count_and_are_named():
    keep = SHADOWS.keep.copy()
    keep[:, :20] = False
    result = attack({"target": TARGET}, {"sgd": SHADOWS._replace(keep=keep)}, ["loss"])
    assert not np.isin(np.arange(20), result.columns).any()
    text = result["target"].checks[0].text
    assert f"{MEMBERS[:20].sum()} members are left out" in text


def small_data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(160, 6)).astype(np.float32)
    y = rng.integers(0, 2, 160).astype(np.int32)
    return sam_jax.Dataset(
        "small",
        2,
        sam_jax.Examples(x[:120], y[:120]),
        sam_jax.Examples(x[120:], y[120:]),
    )


def trained_target(dataset, model, members, optimizer):
    x, y = dataset.train.x[members], dataset.train.y[members]
    params, state = model.init(jax.random.key(7), x)
    opt_state = optimizer.init(params)

    def loss(params):
        logits, _ = model.apply(params, state, x, True, jax.random.key(0))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    for _ in range(300):
        params, opt_state = step(params, opt_state)
    return params, state


def test_a_function_with_weights_is_audited_against_shadow_models_trained_here():
    dataset, model, sgd = small_data(), mlp(2, hidden=(32,)), optax.sgd(0.5)
    members = np.random.default_rng(1).random(120) < 0.5
    params, state = trained_target(dataset, model, members, sgd)
    target = sam_jax.Target.of_model(model, params, state, members)
    config = sam_jax.AttackConfig(num_models=8, attacks={"loss": ATTACKS["loss"]})
    train = sam_jax.TrainConfig(num_epochs=150, batch_size=16, progress=False)
    shadows = {"sgd": sgd}
    result = sam_jax.audit(model, shadows, dataset, train, config, target=target)
    assert result["target"].accuracy.train.value > 0.95
    x = np.concatenate([dataset.train.x, dataset.test.x])
    logits = np.asarray(model.apply(params, state, x, False, jax.random.key(0))[0])
    given = sam_jax.Target(members, logits)
    shadows = result.given.shadows["sgd"]
    again = sam_jax.audit_target(given, dataset, config, shadows=shadows)
    assert auc_of(again, attack="loss") == auc_of(result, attack="loss")
    labels = np.concatenate([dataset.train.y, dataset.test.y])
    log_p = jax.nn.log_softmax(logits)[np.arange(160), labels]
    exact = exact_auc(np.asarray(log_p)[:120], members)
    assert auc_of(result, attack="loss").value == pytest.approx(exact, abs=1e-3)


BAD = np.zeros((160, 2), np.float32)
NAN = np.where(np.arange(160)[:, None] == 5, np.nan, BAD)
HALF = np.arange(120) % 2 == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (sam_jax.Target(HALF[:50], BAD), r"members must be \[120\], one for each pool"),
        (sam_jax.Target(np.ones(120, bool), BAD), "True for some pool examples"),
        (sam_jax.Target(np.ones(160, bool), BAD), "must leave out the test examples"),
        (sam_jax.Target(HALF * 2, BAD), "mask of True and False"),
        (sam_jax.Target(HALF, BAD[:100]), "with the 160 examples of members"),
        (sam_jax.Target(HALF, NAN), "must not hold NaN"),
        (sam_jax.Target(HALF, lambda x: x), r"must return logits \[B, C\] = \(2, 2\)"),
        (sam_jax.Target(HALF, lambda x: 1 / 0), "must be a JAX function of x"),
        (sam_jax.Target(HALF, lambda x: x[:, :2] * np.nan), "gives phi must not hold"),
        (sam_jax.Target(HALF, BAD, name="$"), "target must be a name of 1 to 100"),
        ([sam_jax.Target(HALF, BAD)] * 2, "must have different names"),
        ([], "must be at least one Target"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused_before_training(target, message):
    def never(*_):
        raise AssertionError("trained")

    optimizer = optax.GradientTransformation(lambda p: (), never)
    dataset = small_data()
    config = sam_jax.AttackConfig(num_models=4)
    with pytest.raises(ValueError, match=message):
        sam_jax.audit_target(target, dataset, config)
    with pytest.raises(ValueError, match=message):
        sam_jax.audit(
            mlp(2, hidden=(4,)),
            {"sgd": optax.chain(optax.sgd(0.1), sam_jax_probe(optimizer))},
            dataset,
            sam_jax.TrainConfig(num_epochs=1, batch_size=8, progress=False),
            config,
            target=target,
        )


def sam_jax_probe(optimizer):
    """Traces like the identity; the test data never reach a training step."""
    return optax.GradientTransformation(optimizer.init, lambda u, s, p=None: (u, s))


def test_canaries_and_unclear_shadow_models_are_refused_with_a_target():
    target, dataset = sam_jax.Target(HALF, BAD), small_data()
    model, train = mlp(2, hidden=(4,)), sam_jax.TrainConfig(1, 8, progress=False)
    sgd = optax.sgd(0.1)
    config = sam_jax.AttackConfig(num_models=4, num_canaries=3)
    options = dict(target=target)
    with pytest.raises(ValueError, match="num_canaries must be 0 with a target"):
        sam_jax.audit(model, {"sgd": sgd}, dataset, train, config, **options)
    config = sam_jax.AttackConfig(num_models=4)
    both = {"sgd": sgd, "sam": sam_jax.sam(sgd, 0.05)}
    with pytest.raises(ValueError, match="target must be one of sam, sgd; got 'tar"):
        sam_jax.audit(model, both, dataset, train, config, **options)

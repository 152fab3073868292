"""The scope of an audit of given models, in sentences."""

from sam_jax.auditing.result import AuditResult, GivenModels


def scope(result: AuditResult) -> list[str]:
    """Returns for whom figures of given models hold, and what their mode leaves open.

    Args:
        result: Of an audit; [] where each model was a target in turn.
    """
    if result.given is None:
        return []
    mode, one = result.given.mode, len(result.optimizers) == 1
    models = "this model" if one else "these models"
    sentence = f"Intervals are over examples alone: they hold for {models}"
    if mode != "none":
        sentence += " and the shadow models at hand"
    sentences = [f"{sentence}, not for others trained likewise."]
    if mode == "none":
        sentences.append(
            "Without shadow models an attack cannot tell easy examples from members: "
            "figures hold where members and non-members are of one distribution, and a "
            "stronger leak may go unseen, above all at low false-positive rates."
        )
    elif mode == "out":
        sentences.append(
            "No shadow model trained on the examples, so that attacks know how models "
            "without them behave, and not how models with them do."
        )
    return sentences


def shadow_models(given: GivenModels) -> str:
    """Returns how many shadow models there are and what they trained on."""
    if given.mode == "none":
        return "no shadow models"
    counts = [str(len(signals.keep)) for signals in given.shadows.values()]
    trained = {
        "in and out": "trained with and without the examples",
        "out": "that trained on none of the examples",
    }[given.mode]
    return f"{' and '.join(counts)} shadow models {trained}"

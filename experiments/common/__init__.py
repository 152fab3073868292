"""Parts that the questions of the study share."""

"""Networks: their weights, preprocessing, predictions and how they are computed."""

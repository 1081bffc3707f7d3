"""Networks to train: MobileNets with detection heads and as classifiers, float and quantised."""

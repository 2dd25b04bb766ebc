"""One declaration of features, and the engines that compute it."""

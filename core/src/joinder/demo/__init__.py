"""`joinder demo`: the whole path once, over HTTP, as an integrator and an owner would go it."""

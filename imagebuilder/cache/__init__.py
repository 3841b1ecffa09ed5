"""A store of layers: what each step of a build left behind, known by what went into it."""

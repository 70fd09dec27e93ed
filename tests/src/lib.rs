//! Generators, oracles and fake peers shared by tests, benches and fuzz targets

//! Pattern generator and oracle of the differential suite.

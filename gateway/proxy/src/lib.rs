//! Transports: peers on either side of the corridor, and the answers we give ourselves

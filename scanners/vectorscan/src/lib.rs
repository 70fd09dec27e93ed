//! Safe layer over Vectorscan: databases, scratch, block, literal and stream scans

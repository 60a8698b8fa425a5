//! Docker Engine as the tests have it, by itself: that its containers run and meet, and that the
//! test driver serves a real controller.

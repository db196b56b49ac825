#pragma once

#include "testing/pulsar_broker.h"

namespace pgc {

// The broker of this test program, started at its first use.
PulsarBroker& TestBroker();

}  // namespace pgc

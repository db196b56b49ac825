#pragma once

namespace pgc {

// gRPC's own lines would be in a format of their own: they become ours, of the level debug.
void SendGrpcLogToOurs();

}  // namespace pgc

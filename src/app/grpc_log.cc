#include "app/grpc_log.h"

#include <grpc/support/log.h>

#include "base/log.h"

namespace pgc {

void SendGrpcLogToOurs() {
  gpr_set_log_function([](gpr_log_func_args* line) {
    log::Debug(line->message, {{"from", "gRPC"}});
  });
}

}  // namespace pgc

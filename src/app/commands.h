// The commands of the program.
#pragma once

#include <memory>

#include "app/command_line.h"

namespace pgc {

std::unique_ptr<Command> NewServeCommand();
std::unique_ptr<Command> NewCaptureCommand();
std::unique_ptr<Command> NewApplyCommand();
std::unique_ptr<Command> NewTailCommand();
std::unique_ptr<Command> NewTopicsCommand();
std::unique_ptr<Command> NewDumpCommand();
std::unique_ptr<Command> NewControllerCommand();
std::unique_ptr<Command> NewGatewayCommand();
std::unique_ptr<Command> NewAgentCommand();
std::unique_ptr<Command> NewConfigureCommand();
std::unique_ptr<Command> NewInstallCommand();
std::unique_ptr<Command> NewDoctorCommand();

}  // namespace pgc

# find_package(xent CONFIG) gives the target xent::xent.
#
# Works from an installed prefix (cargo cinstall), and from a source tree after `cargo build
# --release`: find_package(xent CONFIG PATHS <source tree>/include/cmake). The library is the shared
# one where there is one; -DXENT_LIBRARY=<file> names another.

# The prefix is the nearest parent folder that has the header.
set(_xent_prefix "${CMAKE_CURRENT_LIST_DIR}")
while(NOT EXISTS "${_xent_prefix}/include/xent.h")
  get_filename_component(_xent_parent "${_xent_prefix}" DIRECTORY)
  if(_xent_parent STREQUAL _xent_prefix)
    set(xent_FOUND FALSE)
    set(xent_NOT_FOUND_MESSAGE "there is no include/xent.h above ${CMAKE_CURRENT_LIST_DIR}")
    return()
  endif()
  set(_xent_prefix "${_xent_parent}")
endwhile()

find_library(
  XENT_LIBRARY xent
  PATHS "${_xent_prefix}"
  PATH_SUFFIXES lib lib64 "lib/${CMAKE_LIBRARY_ARCHITECTURE}" target/release
  NO_DEFAULT_PATH)
if(NOT XENT_LIBRARY)
  set(xent_FOUND FALSE)
  set(xent_NOT_FOUND_MESSAGE "there is no xent library below ${_xent_prefix}")
  return()
endif()

if(NOT TARGET xent::xent)
  add_library(xent::xent UNKNOWN IMPORTED)
  set_target_properties(xent::xent PROPERTIES
    IMPORTED_LOCATION "${XENT_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${_xent_prefix}/include")
  if(XENT_LIBRARY MATCHES "\\.a$") # what rustc --print native-static-libs names
    find_package(Threads REQUIRED)
    set_target_properties(xent::xent PROPERTIES
      INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
  endif()
endif()

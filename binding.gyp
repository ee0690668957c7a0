# A door for tools that look for binding.gyp: the target runs the same CMake build as
# `npx onehour build`. node-gyp itself downloads Node's headers even for a target of type none; npm's
# own install script (scripts/install.mjs) does not come this way.
{
  "targets": [
    {
      "target_name": "onehour",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building the native modules with CMake",
          "inputs": [
            "CMakeLists.txt",
            "scripts/build.mjs",
            "<!@(node -p \"require('fs').readdirSync('native',{recursive:true}).filter(f=>/\\.(cc|cu|cuh|h|cmake)$/.test(f)).map(f=>'native/'+f).join(' ')\")"
          ],
          "outputs": ["build/Release/onehour_cpu.node"],
          "action": ["node", "scripts/build.mjs"]
        }
      ]
    }
  ]
}
